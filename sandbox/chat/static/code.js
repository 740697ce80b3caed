// JSON with a little colour, made of nodes.
import { h } from "./dom.js";

export function code(value) {
  const node = h("pre");
  const text = JSON.stringify(value, null, 2) ?? "null";
  let end = 0;
  for (const found of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|\b(?:true|false|null)\b/gi)) {
    node.append(text.slice(end, found.index), h("span", { class: found[2] ? "k" : found[1] ? "s" : "n" }, found[1] ?? found[0]), found[2] ?? "");
    end = found.index + found[0].length;
  }
  node.append(text.slice(end));
  return node;
}
