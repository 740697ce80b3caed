// WhatsApp's text markup and links, as nodes: nothing a message says ever becomes HTML.
import { h } from "./dom.js";

const LINK = /https?:\/\/[^\s<>"']+[^\s<>"'.,;:!?)\]]/g;
const MARK = /(?<![\p{L}\p{N}])(\*|_|~|`{3}|`)(?=\S)([\s\S]*?\S)\1(?![\p{L}\p{N}])/u;
const TAGS = { "*": "b", _: "i", "~": "s", "`": "code", "```": "code" };
const ONLY_EMOJI = /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\u200d|\ufe0f|\s){1,12}$/u;
const RTL = /^[^\p{L}]*[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/u;

/** A message's text, formatted. */
export function says(text, className = "says") {
  const node = h("div", { class: className }, marked(text));
  if (ONLY_EMOJI.test(text) && [...text.replace(/\s/g, "")].length <= 8) node.classList.add("big");
  if (RTL.test(text)) node.classList.add("rtl");
  return node;
}

export function marked(text) {
  const found = MARK.exec(text);
  if (!found) return linked(text);
  const [whole, mark, inner] = found;
  const tag = TAGS[mark];
  return [
    ...linked(text.slice(0, found.index)),
    h(tag, {}, tag === "code" ? inner : marked(inner)),
    ...marked(text.slice(found.index + whole.length)),
  ];
}

function linked(text) {
  const nodes = [];
  let end = 0;
  for (const found of text.matchAll(LINK)) {
    nodes.push(text.slice(end, found.index), h("a", { href: found[0], target: "_blank", rel: "noreferrer noopener" }, found[0]));
    end = found.index + found[0].length;
  }
  nodes.push(text.slice(end));
  return nodes.filter((node) => node !== "");
}

/** A message in a few words, for quotes. */
export function summary(message) {
  const text = words(message);
  return typeof text === "string" ? text : message.type;
}

function words(message) {
  if (message.deleted) return "This message was deleted";
  const part = message.body[message.type];
  if (message.type === "text") return part?.body ?? "";
  if (message.type === "template") return message.rendered?.body ?? "Template";
  if (message.type === "interactive") return part?.body?.text ?? part?.[part?.type]?.title ?? "Reply";
  if (message.type === "button") return part?.text ?? "Reply";
  const label = { image: "Photo", video: "Video", audio: part?.voice ? "Voice message" : "Audio", document: part?.filename ?? "Document", sticker: "Sticker", location: part?.name ?? "Location", contacts: "Contact" }[message.type];
  return part?.caption ?? label ?? message.type;
}
