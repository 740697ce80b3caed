// Messages with something to tap, and what tapping says to the business.
import { $, ask, field, h, icon } from "./dom.js";
import { medium, place } from "./media.js";
import { says } from "./text.js";

function pick(text, name, run) {
  return h("button", { type: "button", class: "pick", onclick: run }, name ? icon(name) : null, text);
}

function away(text, url) {
  return h("a", { class: "pick", href: url, target: "_blank", rel: "noreferrer noopener" }, icon("out"), text);
}

function header(message, part) {
  if (!part?.type) return null;
  const kind = part.type.toLowerCase();
  if (kind === "text") return h("div", { class: "head" }, part.text ?? "");
  return kind === "location" ? place(part.location ?? {}) : medium(kind, message, part[kind] ?? {}, false);
}

/** A template message with its parameters filled in. */
export function template(message, tools) {
  const shown = message.rendered;
  const name = message.body.template?.name ?? "template";
  if (!shown) return { inside: h("span", { class: "gone" }, icon("form"), `The template “${name}” is gone`) };
  const inside = [header(message, shown.header), says(shown.body), shown.footer ? h("div", { class: "foot" }, shown.footer) : null];
  const below = shown.buttons.map((button) => {
    if (button.type === "QUICK_REPLY") return pick(button.text, "reply", () => tools.say({ type: "button", button: { payload: button.payload, text: button.text }, context: { id: message.id } }));
    if (button.type === "URL" && button.url.includes("otp_type=COPY_CODE")) return pick(button.text, "copy", () => tools.copy(button.url.split("code=otp").pop()));
    if (button.type === "URL") return away(button.text, button.url);
    if (button.type === "COPY_CODE") return pick(button.text, "copy", () => tools.copy(button.code ?? ""));
    if (button.type === "FLOW") return pick(button.text, "form", () => form(message, tools, "flow"));
    if (button.type === "PHONE_NUMBER" || button.type === "VOICE_CALL") return pick(button.text, "call", () => tools.note("Calls are not simulated."));
    return pick(button.text || button.type.toLowerCase(), "list", () => tools.note("Nothing happens here."));
  });
  return { inside, below: below.length ? [h("div", { class: "picks" }, below)] : [] };
}

/** An interactive message of any sub-type. */
export function interactive(message, tools) {
  const part = message.body.interactive ?? {};
  const inside = [header(message, part.header), part.body?.text ? says(part.body.text) : null, part.footer?.text ? h("div", { class: "foot" }, part.footer.text) : null];
  const buttons = (ACTIONS[part.type] ?? (() => []))(part, message, tools);
  return { inside: inside.some(Boolean) ? inside : says(`(${part.type})`), below: buttons };
}

const rows = (...buttons) => [h("div", { class: "picks" }, buttons)];
const reply = (message, kind, value) => ({ type: "interactive", interactive: { type: kind, [kind]: value }, context: { id: message.id } });

const ACTIONS = {
  button: (part, message, tools) => rows(...part.action.buttons.map(({ reply: { id, title } }) => pick(title, "reply", () => tools.say(reply(message, "button_reply", { id, title }))))),
  list: (part, message, tools) => rows(pick(part.action.button, "list", () => sheet(part.action.button, part.action.sections, (row) => tools.say(reply(message, "list_reply", row))))),
  cta_url: (part) => rows(away(part.action.parameters.display_text, part.action.parameters.url)),
  location_request_message: (part, message, tools) => rows(pick("Send location", "pin", () => tools.locate(message.id))),
  flow: (part, message, tools) => rows(pick(part.action.parameters.flow_cta, "form", () => form(message, tools, "flow", part.action.parameters.flow_token))),
  address_message: (part, message, tools) => rows(pick("Give the address", "form", () => form(message, tools, "address_message"))),
  call_permission_request: (part, message, tools) => rows(...["accept", "reject"].map((response) => pick(response === "accept" ? "Allow calls" : "Do not allow", "call", () => tools.say(reply(message, "call_permission_reply", { response, response_source: "user_action", ...(response === "accept" ? { expiration_timestamp: Math.floor(Date.now() / 1000) + 604800 } : {}) }))))),
  request_contact_info: (part, message, tools) => rows(pick("Share phone number", "contact", () => tools.shareSelf(message.id))),
  product: (part, message, tools) => rows(pick(`Order ${part.action.product_retailer_id}`, "bag", () => buy(part.action, part.action, message, tools))),
  product_list: (part, message, tools) => rows(pick("View items", "bag", () => sheet("Items", part.action.sections.map((section) => ({ title: section.title, rows: section.product_items.map((item) => ({ id: item.product_retailer_id, title: item.product_retailer_id, description: "Tap to order one" })) })), (row) => buy(part.action, { product_retailer_id: row.id }, message, tools)))),
  catalog_message: (part, message, tools) => rows(pick("View catalog", "bag", () => buy(part.action, { product_retailer_id: part.action.parameters?.thumbnail_product_retailer_id ?? "SKU1" }, message, tools))),
  voice_call: (part, message, tools) => rows(pick(part.action.parameters?.display_text ?? "Call", "call", () => tools.note("Calls are not simulated."))),
  order_details: (part, message, tools) => rows(pick("Review and pay", "bag", () => tools.note("Payments are not simulated."))),
  carousel: (part, message, tools) => [h("div", { class: "deck" }, part.action.cards.map((card) => h("div", {}, h("div", { class: "bubble" }, header(message, card.header), card.body?.text ? says(card.body.text) : null), cardButtons(card, message, tools))))],
};

function cardButtons(card, message, tools) {
  const action = card.action ?? {};
  if (action.parameters?.url) return rows(away(action.parameters.display_text ?? "Open", action.parameters.url));
  return rows(...(action.buttons ?? []).map((button) => pick(button.reply?.title ?? button.quick_reply?.title ?? "Choose", "reply", () => tools.say(reply(message, "button_reply", button.reply ?? button.quick_reply)))));
}

function buy(action, item, message, tools) {
  const bought = { product_retailer_id: item.product_retailer_id, quantity: 1, item_price: 19.9, currency: "USD" };
  tools.say({ type: "order", order: { catalog_id: String(action.catalog_id ?? "1"), text: "", product_items: [bought] }, context: { id: message.id } });
}

/** Show a list from the phone's lower edge. */
function sheet(title, sections, choose) {
  const host = $("sheet-host");
  const opener = document.activeElement;
  const close = () => { host.replaceChildren(); opener?.focus?.({ preventScroll: true }); };
  const lines = sections.flatMap((section) => [
    section.title ? h("h3", {}, section.title) : null,
    ...section.rows.map((row) => h("button", { type: "button", class: "row", onclick: () => { close(); choose(row); } }, h("span", {}, row.title, row.description ? h("small", {}, row.description) : null), h("i"))),
  ]);
  const box = h("div", { class: "sheet", role: "dialog", "aria-label": title },
    h("header", {}, h("span", {}, title), h("button", { type: "button", class: "round", "aria-label": "Close", onclick: close }, icon("close"))), h("div", { class: "rows" }, lines));
  host.replaceChildren(box);
  host.onclick = (event) => { if (event.target === host) close(); };
  box.onkeydown = (event) => { if (event.key === "Escape") close(); };
  box.querySelector(".row")?.focus();
}

function form(message, tools, name, token) {
  const text = h("textarea", { name: "json", spellcheck: false, value: JSON.stringify(name === "flow" ? { flow_token: token ?? "unused", answer: "yes" } : { values: { name: "Ann Bo", address: "1 Test Rd", city: "Town" } }, null, 2) });
  ask({
    title: "Send the form", confirm: "Send", text: "The screens of a form are not drawn. Write what it would send back.",
    body: [field("Response (JSON)", text)],
    submit: async ({ json }) => {
      const response = JSON.stringify(JSON.parse(json));
      await tools.say(reply(message, "nfm_reply", { name, body: "Sent", response_json: response }));
    },
  });
}

