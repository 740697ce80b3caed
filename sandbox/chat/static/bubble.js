// One message as the customer sees it.
import { clock, h, icon } from "./dom.js";
import { contacts, medium, place } from "./media.js";
import { interactive, template } from "./replies.js";
import { says, summary } from "./text.js";

const MEDIA = ["image", "video", "audio", "document", "sticker"];
const STATES = { sending: ["clock", "clock", "Waiting for the CRM"], unheard: ["tick", "", "The business does not hear you"], delivered: ["ticks", "", "Delivered"], read: ["ticks", "read", "Read"] };

/** The ticks of the customer's own message. */
export function ticks(state) {
  const [name, className, label] = STATES[state] ?? STATES.unheard;
  const svg = icon(name, className);
  svg.setAttribute("aria-label", label);
  svg.removeAttribute("aria-hidden");
  return svg;
}

/** What to show of a message: the bubble and, below it, its buttons. `tools` are what its parts can do. */
export function bubble(message, tools) {
  if (message.type === "system") return { note: message.body.system?.body ?? "The number changed." };
  const { inside, below = [], bare = false, over = false } = safely(message, tools);
  const meta = h("span", { class: "meta" }, message.edited ? "edited " : "", h("time", {}, clock(message.t)), message.mine ? ticks(message.state) : null);
  const classes = ["bubble", bare && "bare", over && "over", message.edited && "edited"].filter(Boolean).join(" ");
  return { box: h("div", { class: classes }, quoted(message, tools), inside, meta), below };
}

/** Scripts may send messages of any shape: one that cannot be drawn must not keep the others from the screen. */
function safely(message, tools) {
  try {
    return content(message, tools);
  } catch {
    return { inside: h("span", { class: "gone" }, icon("form"), `A “${message.type}” that cannot be shown`) };
  }
}

function content(message, tools) {
  const { type } = message;
  const part = message.body[type];
  if (message.deleted) return { inside: h("span", { class: "gone" }, icon("block"), message.mine ? "You deleted this message" : "This message was deleted") };
  if (type === "text") return { inside: says(part?.body ?? "") };
  if (MEDIA.includes(type)) {
    const caption = part?.caption ? says(part.caption) : null;
    return { inside: [medium(type, message, part ?? {}, !caption), caption], bare: type === "sticker", over: type === "image" && !caption };
  }
  if (type === "location") return { inside: place(part ?? {}) };
  if (type === "contacts") return { inside: contacts(part) };
  if (type === "template") return template(message, tools);
  if (type === "interactive") return message.mine ? { inside: says(answered(part)) } : interactive(message, tools);
  if (type === "button") return { inside: says(part?.text ?? "") };
  if (type === "order") return { inside: order(part ?? {}) };
  return { inside: h("span", { class: "gone" }, icon("form"), `A message of type “${type}”`) };
}

function answered(part) {
  const reply = part?.[part?.type] ?? {};
  if (part?.type === "nfm_reply") return reply.body || "Form sent";
  if (part?.type === "call_permission_reply") return reply.response === "accept" ? "Calls allowed" : "Calls not allowed";
  return [reply.title, reply.description].filter(Boolean).join("\n");
}

function order(part) {
  const items = part.product_items ?? [];
  const sum = items.reduce((total, item) => total + Number(item.item_price ?? 0) * Number(item.quantity ?? 1), 0);
  return h("div", { class: "card" }, h("span", { class: "mark green" }, icon("bag")),
    h("div", {}, h("b", {}, `${items.length} ${items.length === 1 ? "item" : "items"}`),
      h("small", {}, items.map((item) => `${item.quantity} × ${item.product_retailer_id}`).join(", ")),
      sum ? h("small", {}, `${sum.toFixed(2)} ${items[0].currency ?? ""}`) : null));
}

function quoted(message, tools) {
  const context = message.body.context;
  const wanted = context?.message_id ?? context?.id;
  const forwarded = context?.forwarded || context?.frequently_forwarded ? h("div", { class: "forwarded" }, "Forwarded") : null;
  if (!wanted || message.deleted) return forwarded;
  const original = tools.find(wanted);
  const own = original?.mine;
  return [forwarded, h("button", { type: "button", class: `quoted${own ? " own" : ""}`, onclick: () => tools.jump(wanted) },
    h("b", {}, original ? (own ? "You" : tools.shop()) : "Earlier message"),
    h("span", {}, original ? summary(original) : "No longer kept"))];
}
