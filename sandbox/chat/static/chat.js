// The chat page: holds who is on the screen, asks the sandbox what is new, and hands it to the parts.
import { call, get, post, showHealth } from "./api.js";
import { Composer } from "./composer.js";
import * as dialogs from "./dialogs.js";
import { $, h, icon, menu, toast } from "./dom.js";
import { address, People } from "./people.js";
import { Thread } from "./thread.js";

const QUICK = 450, SLOW = 4000;
const state = { number: localStorage.number ?? "", open: decodeURIComponent(location.hash.slice(1)), since: 0, epoch: "", customers: [], numbers: [] };
const api = "/_sandbox/chat";
let timer, asking = false, again = false;

const tell = (error) => { toast(error.message); throw error; };
const say = (message) => post(`${api}/messages`, { ...message, customer: state.open, phone_number_id: state.number }).then(poll, tell);
const change = (changes) => call("PATCH", `${api}/customers/${encodeURIComponent(state.open)}`, { ...changes, phone_number_id: state.number }).then(poll);
const current = () => state.customers.find((customer) => customer.key === state.open) ?? state.chat;

const act = {
  say,
  note: toast,
  copy: (text) => navigator.clipboard?.writeText(text).then(() => toast("Copied"), () => toast(text)),
  react: (message, emoji) => say({ type: "reaction", reaction: { message_id: message.id, emoji } }),
  revoke: (message) => say({ type: "revoke", revoke: { original_message_id: message.id } }),
  reply: (message) => composer.reply(message),
  edit: (message) => composer.edit(message),
  locate: (replyTo) => dialogs.locate(say, typeof replyTo === "string" ? replyTo : undefined),
  contact: () => dialogs.shareContact(say),
  shareSelf: (replyTo) => say({ type: "contacts", contacts: [dialogs.card(current().name, current().phone ?? "")], context: { id: replyTo } }),
  unblock: () => change({ blocked: false }).catch(tell),
  lastOwn: () => thread.lastOwn(),
  send: (file, as, caption, replyTo) => {
    const form = new FormData();
    for (const [key, value] of Object.entries({ customer: state.open, phone_number_id: state.number, as, caption, reply_to: replyTo ?? "" })) form.append(key, value);
    form.append("file", file);
    return post(`${api}/files`, form).then(poll, tell);
  },
};
const thread = new Thread(act);
const composer = new Composer(act);
const people = new People(open, [["Add a customer", () => addOne()], ["Add three examples", () => addExamples()]]);

/** Ask what is new; a second wish while one is under way is kept. */
async function poll() {
  if (asking) { again = true; return; }
  asking = true;
  clearTimeout(timer);
  const query = new URLSearchParams({ number: state.number, since: state.since, epoch: state.epoch, open: state.open, q: $("search").value.trim() });
  if (!document.hidden) query.set("visible", "1");
  const asked = state.open;
  try {
    const answer = await get(`${api}/state?${query}`);
    if (asked === state.open) take(answer);
  } catch (error) {
    if (state.number && /number/.test(error.message)) { state.number = ""; delete localStorage.number; }
    showHealth(null, 0);
  }
  asking = false;
  const soon = again;
  again = false;
  timer = setTimeout(poll, soon ? 0 : document.hidden ? SLOW : QUICK);
}

function take(answer) {
  showHealth(answer.health, answer.faults);
  if (state.epoch && answer.epoch !== state.epoch) { reset(); state.epoch = answer.epoch; again = true; return; }
  state.epoch = answer.epoch;
  state.since = answer.version;
  if (answer.customers) {
    state.customers = answer.customers;
    state.numbers = answer.numbers;
    state.number = answer.number;
    showNumbers();
  }
  people.update(state.customers, state.open, $("search").value.trim());
  state.chat = answer.chat?.customer ?? null;
  showHead();
  if (answer.chat) {
    thread.update(answer.chat.messages, answer.chat.customer.typing, shop().name);
    composer.open(answer.chat.customer);
  }
}

function reset() {
  state.since = 0;
  state.shown = undefined;
  thread.clear();
}

function open(key) {
  if (key !== state.open || !state.chat) {
    state.open = key;
    state.chat = null;
    history.replaceState(null, "", key ? `#${encodeURIComponent(key)}` : location.pathname);
    reset();
    again = true;
  }
  people.update(state.customers, state.open, $("search").value.trim());
  $("stage").dataset.open = String(Boolean(key));
  poll();
  if (key) setTimeout(() => composer.focus(), 60);
}

const shop = () => state.numbers.find((number) => number.id === state.number) ?? { name: "Business", phone: "" };

function showHead() {
  const customer = state.chat;
  $("stage").dataset.open = String(Boolean(customer));
  $("talk-head").hidden = !customer;
  if (!customer) {
    $("compose").hidden = true;
    $("holding").textContent = "";
    showEmpty();
    return;
  }
  $("empty").replaceChildren();
  state.shown = undefined;
  $("shop-name").textContent = shop().name;
  const presence = customer.typing ? "typing…" : shop().phone;
  $("presence").textContent = presence;
  $("presence").classList.toggle("typing", customer.typing);
  $("holding").replaceChildren("You hold the phone of ", h("b", {}, customer.name), ` · ${[address(customer)]}`);
}

function showEmpty() {
  const first = !state.customers.length && !$("search").value;
  const kind = first ? "first" : "choose";
  if (state.shown === kind) return;
  state.shown = kind;
  const art = h("div", { class: "art" }, icon(first ? "user-add" : "smile"));
  $("empty").replaceChildren(art, ...(first
    ? [h("h2", {}, "Nobody is here yet"), h("p", {}, "Add a customer and write to the business. The CRM gets it as a webhook, exactly as if it came from WhatsApp."),
      h("div", { class: "actions" }, h("button", { type: "button", class: "button main", onclick: addOne }, "Add a customer"), h("button", { type: "button", class: "button", onclick: addExamples }, "Add three examples"))]
    : [h("h2", {}, "Whose phone will you hold?"), h("p", {}, "Choose a customer on the left, or press ", h("kbd", {}, "n"), " for a new one. Keep several tabs open to play several at once.")]));
}

function showNumbers() {
  const several = state.numbers.length > 1;
  $("number-choice").hidden = !several;
  const options = state.numbers.map((number) => h("option", { value: number.id, selected: number.id === state.number }, `${number.name} · ${number.phone}`));
  const key = JSON.stringify(state.numbers) + state.number;
  if ($("number").dataset.key !== key) { $("number").replaceChildren(...options); $("number").dataset.key = key; }
}

const add = (facts) => post(`${api}/customers`, { ...facts, phone_number_id: state.number });
const addOne = () => dialogs.addCustomer(async (facts) => { const { key } = await add(facts); open(key); });

async function addExamples() {
  let last;
  for (const facts of dialogs.examples()) last = await add(facts).catch(tell);
  open(last.key);
}

function chatMenu() {
  const customer = current();
  menu($("talk-menu"), [
    { icon: "block", text: customer.blocked ? "Unblock the business" : "Block the business", run: () => change({ blocked: !customer.blocked }).catch(tell) },
    { icon: "quiet", text: customer.stopped ? "Resume marketing messages" : "Stop marketing messages", run: () => change({ stopped: !customer.stopped }).then(() => toast("The CRM is told.")).catch(tell) },
    { icon: "swap", text: "Change phone number", run: () => dialogs.changeNumber(customer, change) },
    customer.phone ? { icon: "sms", text: "Send an SMS", run: () => dialogs.textMessage(customer) } : null,
    { icon: "edit", text: "Rename", run: () => dialogs.rename(customer, change) },
    { icon: "copy", text: "Copy address", run: () => act.copy(customer.hidden || !customer.phone ? customer.user_id : customer.phone) },
    "-",
    { icon: "trash", text: "Remove from this page", bad: true, run: () => dialogs.remove(customer, async () => { await call("DELETE", `${api}/customers/${encodeURIComponent(customer.key)}`); open(""); }) },
  ]);
}

$("add").addEventListener("click", addOne);
$("back").addEventListener("click", () => open(""));
$("talk-menu").addEventListener("click", chatMenu);
$("search").addEventListener("input", () => { state.epoch = state.epoch && ""; poll(); });
$("number").addEventListener("change", (event) => {
  state.number = localStorage.number = event.target.value;
  state.epoch = "";
  open("");
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
addEventListener("hashchange", () => open(decodeURIComponent(location.hash.slice(1))));
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select, dialog");
  if (event.ctrlKey || event.metaKey || event.altKey || typing) {
    if (event.key === "Escape" && event.target === $("search")) { $("search").value = ""; state.epoch = ""; poll(); }
    return;
  }
  if (event.key === "n") { event.preventDefault(); addOne(); }
  if (event.key === "/") { event.preventDefault(); $("search").focus(); }
});
document.documentElement.classList.toggle("ampm", /[ap]\.?m/i.test(new Date().toLocaleTimeString([], { hour: "2-digit" })));
const tick = () => { $("clock").textContent = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }); };
tick();
setInterval(tick, 5000);
poll();
