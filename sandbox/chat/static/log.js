// The log page: what was received, newest first, and the faults and limits in force.
import { call, get, showHealth } from "./api.js";
import { code } from "./code.js";
import { $, h, icon, toast } from "./dom.js";
import { FAULTS, LIMITS } from "./presets.js";

const KINDS = ["message", "read", "typing", "media", "template", "chat_completion", "transcription", "sms", "twilio", "email", "smtp", "hook", "other"];
const KEPT = 400, EVERY = 1000;
const state = { next: 0, entries: [], kinds: new Set(), rules: [], limits: {}, epoch: 0 };

async function poll() {
  try {
    const asked = state.next ? `since=${state.next}` : `tail=${KEPT}`;
    const [log, stats, faults, limits, health] = await Promise.all([get(`/_sandbox/log?${asked}`), get("/_sandbox/stats"), get("/_sandbox/faults"), get("/_sandbox/limits"), get("/_sandbox/health")]);
    if (state.pid && state.pid !== health.pid || stats.total < state.total) { state.next = 0; state.entries = []; $("rows").replaceChildren(); state.pid = health.pid; state.total = 0; setTimeout(poll, 0); return; }
    state.pid = health.pid;
    state.rules = faults.data;
    state.limits = limits;
    showHealth(stats.webhooks, state.rules.filter((rule) => rule.left !== 0).length);
    figures(stats);
    add(log);
    showFaults();
    showLimits();
  } catch {
    showHealth(null, 0);
  }
  setTimeout(poll, document.hidden ? 5000 : EVERY);
}

function add({ data, next }) {
  if (next < state.next) { state.entries = []; $("rows").replaceChildren(); }
  state.next = next;
  const follow = $("follow").checked;
  for (const entry of data) {
    state.entries.push(entry);
    if (follow && fits(entry)) $("rows").prepend(row(entry));
  }
  state.entries.splice(0, Math.max(0, state.entries.length - KEPT));
  while ($("rows").children.length > KEPT) $("rows").lastChild.remove();
  $("none").hidden = $("rows").children.length > 0;
}

function refill() {
  $("rows").replaceChildren(...state.entries.filter(fits).reverse().map(row));
  $("none").hidden = $("rows").children.length > 0;
}

function fits(entry) {
  if (state.kinds.size && !state.kinds.has(entry.kind)) return false;
  if ($("wrong").checked && entry.status >= 200 && entry.status < 300) return false;
  const wanted = $("find").value.trim().toLowerCase();
  return !wanted || JSON.stringify(entry).toLowerCase().includes(wanted);
}

function row(entry) {
  const status = entry.cut ? "cut" : String(entry.status);
  const line = h("summary", {},
    h("time", { title: entry.time }, new Date(entry.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false })),
    h("span", { class: `tag ${entry.kind}` }, entry.kind.replace("_", " ")),
    h("span", { class: `status ${entry.cut ? "cut" : entry.status >= 400 ? "bad" : ""}` }, status),
    h("span", { class: "to" }, entry.to ? (/^\d+$/.test(entry.to) ? `+${entry.to}` : entry.to) : ""),
    h("span", { class: "what" }, said(entry)));
  const box = h("details", { class: "row" }, line);
  box.addEventListener("toggle", () => { if (box.open && box.children.length === 1) box.append(detail(entry)); });
  return h("li", {}, box);
}

function said(entry) {
  const error = entry.answer?.error;
  if (typeof error === "string" || entry.kind === "twilio" && entry.answer?.code) return String(error ?? entry.answer.message);
  if (error) return [String(error.message ?? "error"), h("small", {}, ` ${error.error_data?.details ?? ""}`)];
  const { body } = entry;
  if (entry.kind === "message" && body) {
    const part = body[body.type] ?? {};
    const text = part.body?.text ?? part.body ?? part.name ?? part.caption ?? part.emoji ?? part.link ?? "";
    return [h("small", {}, `${body.type ?? "text"} `), String(text)];
  }
  if (entry.kind === "sms") return String(body?.message ?? "");
  if (entry.kind === "twilio") return String(body?.Body ?? "");
  if (entry.kind === "email" || entry.kind === "smtp") return [h("small", {}, `${entry.method} `), String(entry.cut || entry.status < 300 ? body?.subject ?? "" : entry.answer)];
  if (entry.kind === "chat_completion") return String(body?.messages?.at?.(-1)?.content ?? "");
  return `${entry.method} ${entry.path}`;
}

function detail(entry) {
  const facts = [`${entry.method} ${entry.path}`, `#${entry.seq}`, entry.message_id, entry.biz_opaque_callback_data && `callback data ${entry.biz_opaque_callback_data}`, entry.duplicate && "sent again", entry.cut && "the connection was cut", entry.faults && `faults ${entry.faults.join(", ")}`];
  return h("div", { class: "detail" }, h("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
    h("div", {}, h("h3", {}, "Request"), code(entry.body)), h("div", {}, h("h3", {}, entry.cut ? "Answer (never arrived)" : "Answer"), code(entry.answer)));
}

function figures(stats) {
  const most = Math.max(0, ...Object.values(stats.max_per_second));
  const sum = (counts) => Object.values(counts).reduce((all, count) => all + count, 0);
  const broken = sum(stats.violations), twice = stats.duplicates + (stats.duplicates_by_kind.smtp ?? 0);
  const items = [["Accepted", sum(stats.accepted_by_kind)], ["Refused", stats.refused, stats.refused ? "warn" : ""], ["Sent twice", twice, twice ? "bad" : ""], ["Limits broken", broken, broken ? "bad" : ""],
    ["Most in 1 s", most], ["Inbound", stats.inbound], ["Webhooks out", stats.webhooks.delivered], ["Waiting", stats.webhooks.pending, stats.webhooks.last_error ? "bad" : ""], ["Failed tries", stats.webhooks.failed_attempts]];
  const key = JSON.stringify(items);
  if (state.figures === key) return;
  state.figures = key;
  $("figures").replaceChildren(...items.map(([name, count, mood]) => h("div", { class: `figure ${mood ?? ""}` }, h("b", {}, count.toLocaleString()), h("span", {}, name))));
}

const put = (rules) => call("PUT", "/_sandbox/faults", rules).then((answer) => { state.rules = answer.data; showFaults(); }).catch((error) => toast(error.message));
const kept = () => state.rules.map(({ name, match, action, probability, times, hits }) => ({ name, match, action, probability, times, hits }));

function showFaults() {
  const key = JSON.stringify(state.rules);
  if (state.faults === key) return;
  state.faults = key;
  $("presets").replaceChildren(...FAULTS.map((preset) => {
    const active = state.rules.some((rule) => rule.name === preset.name && rule.left !== 0);
    const others = () => kept().filter((rule) => rule.name !== preset.name);
    return h("button", { type: "button", title: preset.title, "aria-pressed": String(active), onclick: () => put(active ? others() : [...others(), { name: preset.name, ...preset.rule }]) }, preset.name);
  }));
  $("rules").replaceChildren(...state.rules.map((rule, n) => h("li", {},
    h("div", {}, h("b", {}, rule.name ?? `Rule ${rule.id}`), h("small", {}, described(rule))),
    h("span", { class: "hits", title: "hits" }, rule.left === null ? `${rule.hits}×` : `${rule.hits} of ${rule.times}`),
    h("button", { type: "button", class: "round", "aria-label": "Remove", onclick: () => put(kept().filter((_, place) => place !== n)) }, icon("close")))));
  $("clear").disabled = !state.rules.length;
}

function described(rule) {
  const match = Object.entries(rule.match).map(([key, value]) => `${key} ${value}`).join(", ") || "everything";
  const action = Object.entries(rule.action).map(([key, value]) => `${key} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
  return `${match}: ${action}${rule.probability < 1 ? `, ${Math.round(rule.probability * 100)} %` : ""}`;
}

function showLimits() {
  const key = JSON.stringify(state.limits);
  if (state.limitsShown === key) return;
  state.limitsShown = key;
  $("limits").replaceChildren(...LIMITS.map((preset) => {
    const [name, value] = Object.entries(preset.limits)[0];
    const active = JSON.stringify(state.limits[name]) === JSON.stringify(value);
    const change = active ? { [name]: null } : preset.limits;
    return h("button", { type: "button", title: preset.title, "aria-pressed": String(active), onclick: () => call("PATCH", "/_sandbox/limits", change).then((limits) => { state.limits = limits; showLimits(); }).catch((error) => toast(error.message)) }, preset.name);
  }));
}

for (const kind of KINDS) {
  $("kinds").append(h("button", { type: "button", "aria-pressed": "false", onclick: (event) => {
    const on = !state.kinds.delete(kind) && state.kinds.add(kind);
    event.currentTarget.setAttribute("aria-pressed", String(Boolean(on)));
    refill();
  } }, kind.replace("_", " ")));
}
$("find").addEventListener("input", refill);
$("wrong").addEventListener("change", refill);
$("follow").addEventListener("change", refill);
$("clear").addEventListener("click", () => put([]));
poll();
