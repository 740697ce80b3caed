// The hooks page: what came to the webhook receivers, newest first, and what each of them answers.
import { call, get, showHealth } from "./api.js";
import { code } from "./code.js";
import { $, ask, field, h, icon, toast } from "./dom.js";

const EVERY = 1000, KEPT = 400;
const state = { next: 0, requests: [], names: new Set(), shown: "", chips: "" };

async function poll() {
  try {
    const [found, stats, faults] = await Promise.all([get(`/_sandbox/hooks?since=${state.next}&limit=${KEPT}`), get("/_sandbox/stats"), get("/_sandbox/faults")]);
    showHealth(stats.webhooks, faults.data.filter((rule) => rule.left !== 0).length);
    if (found.next < state.next) { state.next = 0; state.requests = []; $("rows").replaceChildren(); return; }
    state.next = found.next;
    add(found.data);
    receivers(found);
  } catch {
    showHealth(null, 0);
  }
}

function add(data) {
  for (const request of data) {
    state.requests.push(request);
    if ($("follow").checked && fits(request)) $("rows").prepend(row(request));
  }
  state.requests.splice(0, Math.max(0, state.requests.length - KEPT));
  while ($("rows").children.length > KEPT) $("rows").lastChild.remove();
  $("none").hidden = $("rows").children.length > 0;
}

function refill() {
  $("rows").replaceChildren(...state.requests.filter(fits).reverse().map(row));
  $("none").hidden = $("rows").children.length > 0;
}

function fits(request) {
  if (state.names.size && !state.names.has(request.name)) return false;
  const wanted = $("find").value.trim().toLowerCase();
  return !wanted || JSON.stringify(request).toLowerCase().includes(wanted);
}

function row(request) {
  const signed = request.verified === null ? "" : request.verified === "ok" ? "signed" : "bad signature";
  const line = h("summary", {},
    h("time", { title: request.time }, new Date(request.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false })),
    h("span", { class: "tag" }, request.name),
    h("span", { class: `status ${request.cut ? "cut" : request.status >= 400 ? "bad" : ""}` }, request.cut ? "cut" : String(request.status)),
    h("span", { class: `verdict ${request.verified === "ok" ? "good" : "bad"}`, title: request.verified ?? "" }, signed),
    h("span", { class: "what" }, h("small", {}, `${request.method} `), said(request)));
  const box = h("details", { class: "row" }, line);
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(detail(request)); });
  return h("li", {}, box);
}

/** A body that has a structure: JSON or a form. */
function parsed(request) {
  if (request.base64) return null;
  const kind = request.headers.find(([name]) => name.toLowerCase() === "content-type")?.[1] ?? "";
  if (kind.startsWith("application/x-www-form-urlencoded")) return Object.fromEntries(new URLSearchParams(request.text));
  try {
    return JSON.parse(request.text);
  } catch {
    return null;
  }
}

function said(request) {
  const body = parsed(request);
  return String(body?.type ?? body?.status ?? body?.MessageStatus ?? (request.base64 ? "(binary)" : request.text)).slice(0, 200);
}

function detail(request) {
  const facts = [`${request.method} ${request.path}`, `#${request.seq}`, request.verified && `signature: ${request.verified}`, request.cut && "no answer was given"];
  const body = parsed(request);
  return h("div", { class: "detail" }, h("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
    h("div", {}, h("h3", {}, "Body"), body === null ? h("pre", {}, request.text) : code(body)),
    h("div", {}, h("h3", {}, "Headers"), h("pre", {}, request.headers.map(([name, value]) => `${name}: ${value}`).join("\n"))));
}

function receivers({ counts, answers }) {
  const key = JSON.stringify([counts, answers]);
  if (state.shown === key) return;
  state.shown = key;
  const names = [...new Set([...Object.keys(counts), ...Object.keys(answers)])].sort();
  chips(names);
  $("receivers").replaceChildren(...names.map((name) => h("li", {},
    h("div", {}, h("b", {}, name), h("small", {}, described(answers[name]))),
    h("span", { class: "hits", title: "requests" }, `${counts[name] ?? 0}×`),
    h("button", { type: "button", class: "act", onclick: () => edit(name, answers[name]) }, "Answer"),
    h("button", { type: "button", class: "round", "aria-label": `Forget ${name}`, onclick: () => call("DELETE", `/_sandbox/hooks/${encodeURIComponent(name)}`).then(() => { state.requests = state.requests.filter((each) => each.name !== name); refill(); return poll(); }).catch((error) => toast(error.message)) }, icon("close")))));
}

function chips(names) {
  const key = JSON.stringify(names);
  if (state.chips === key) return;
  state.chips = key;
  for (const name of state.names) if (!names.includes(name)) state.names.delete(name);
  $("names").replaceChildren(...names.slice(0, 12).map((name) => h("button", { type: "button", "aria-pressed": String(state.names.has(name)), onclick: (event) => {
    const on = !state.names.delete(name) && state.names.add(name);
    event.currentTarget.setAttribute("aria-pressed", String(Boolean(on)));
    refill();
  } }, name)));
}

function described(answer) {
  if (!answer) return "answers 200";
  const parts = [answer.statuses.length && `first ${answer.statuses.join(", ")}`, answer.hang ? "never answers" : `answers ${answer.status}`, answer.delay && `after ${answer.delay} s`, answer.headers.Location && `to ${answer.headers.Location}`, answer.secret && "checks signatures"];
  return parts.filter(Boolean).join(", ");
}

function edit(name, answer) {
  ask({
    title: name ? `What ${name} answers` : "Set an answer",
    body: [
      name ? null : field("Name", h("input", { name: "name", required: true, pattern: "[A-Za-z0-9._~\\-]{1,64}", placeholder: "orders" })),
      h("div", { class: "pair" }, field("Status", h("input", { name: "status", inputMode: "numeric", value: String(answer?.status ?? 200), required: true })), field("Delay in seconds", h("input", { name: "delay", inputMode: "decimal", value: String(answer?.delay ?? 0) }))),
      field("First answer these", h("input", { name: "statuses", value: (answer?.statuses ?? []).join(", "), placeholder: "500, 503, 429" }), "One status for each of the next requests."),
      field("Signing secret", h("input", { name: "secret", placeholder: "whsec_…", autocomplete: "off" }), "Requests are then checked as Standard Webhooks."),
    ].filter(Boolean),
    submit: async (given) => {
      const wanted = { status: Number(given.status), delay: Number(given.delay || 0), statuses: given.statuses.split(/[\s,]+/).filter(Boolean).map(Number) };
      if (given.secret) wanted.secret = given.secret;
      await call("PUT", `/_sandbox/hooks/${encodeURIComponent(name ?? given.name)}`, wanted);
      poll();
    },
  });
}

async function live() {
  await poll();
  setTimeout(live, document.hidden ? 5000 : EVERY);
}

$("address").textContent = `${location.origin}/hooks/any-name`;
$("find").addEventListener("input", refill);
$("follow").addEventListener("change", refill);
$("new").addEventListener("click", () => edit(null, null));
live();
