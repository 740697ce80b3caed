// The mail page: what the CRM sent, newest first, and one mail opened. Nothing of a mail becomes HTML of this page.
import { get, post, showHealth } from "./api.js";
import { $, ask, bytes, field, h, icon, toast } from "./dom.js";

const EVERY = 1000, SHOWN = 200;
const state = { mails: "", open: null, tab: null };

async function poll() {
  try {
    const [found, stats, faults] = await Promise.all([get(`/_sandbox/mail?limit=${SHOWN}&q=${encodeURIComponent($("find").value.trim())}`), get("/_sandbox/stats"), get("/_sandbox/faults")]);
    showHealth(stats.webhooks, faults.data.filter((rule) => rule.left !== 0).length);
    list(found);
  } catch {
    showHealth(null, 0);
  }
}

function list({ data, total }) {
  const key = JSON.stringify([data.map((mail) => mail.id), state.open?.id]);
  if (state.mails === key) return;
  state.mails = key;
  $("count").textContent = total === 1 ? "1 mail so far" : `${total.toLocaleString()} mails so far`;
  $("none").hidden = data.length > 0;
  $("mails").replaceChildren(...data.map((mail) => h("li", {}, h("button", { type: "button", "aria-pressed": String(mail.id === state.open?.id), onclick: () => open(mail.id) },
    h("b", {}, mail.rcpt_to.join(", ")),
    h("time", { title: mail.time }, new Date(mail.time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false })),
    h("span", { class: "subject" }, mail.subject || "(no subject)")))));
}

async function open(id) {
  try {
    state.open = await get(`/_sandbox/mail/${id}`);
  } catch (error) {
    toast(error.message);
    return;
  }
  location.hash = id;
  const { html, text } = state.open;
  if (!state.tab || (state.tab === "HTML" && html === null) || (state.tab === "Text" && text === null)) state.tab = html !== null ? "HTML" : "Text";
  show();
  state.mails = "";
  poll();
}

function show() {
  const mail = state.open;
  const facts = [["From", mail.from], ["To", mail.to], ["Envelope", `${mail.mail_from || "<>"} → ${mail.rcpt_to.join(", ")}`], ["Came", `${new Date(mail.time).toLocaleString()} ${mail.via === "smtp" ? "by SMTP" : "through the e-mail gateway"}, ${bytes(mail.size)}`]];
  const tabs = [mail.html !== null && "HTML", mail.text !== null && "Text", "Headers", "Source"].filter(Boolean);
  $("mail").replaceChildren(
    h("header", {}, h("h1", {}, mail.subject || "(no subject)"),
      h("button", { class: "button small", type: "button", onclick: () => report("bounce") }, "Bounce it"),
      h("button", { class: "button small", type: "button", onclick: () => report("complaint") }, "Call it spam")),
    h("dl", {}, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("div", { class: "kinds", role: "group", "aria-label": "View" }, tabs.map((name) => h("button", { type: "button", "aria-pressed": String(name === state.tab), onclick: () => { state.tab = name; show(); } }, name))),
    view(mail),
    mail.attachments.length ? h("div", { class: "files", "aria-label": "Attachments" }, mail.attachments.map((file) =>
      h("a", { href: `/_sandbox/mail/${mail.id}/attachments/${file.n}`, download: file.name }, icon("document"), file.name, h("small", {}, bytes(file.size))))) : "");
}

function view(mail) {
  if (state.tab === "HTML" && mail.html !== null) {
    const frame = h("iframe", { title: "The mail's HTML", referrerPolicy: "no-referrer" });
    frame.setAttribute("sandbox", "");
    frame.src = `/_sandbox/mail/${mail.id}/html`;
    return frame;
  }
  if (state.tab === "Text") return h("pre", { class: "text", tabindex: "0" }, mail.text ?? "");
  if (state.tab === "Headers") return h("pre", { tabindex: "0" }, mail.headers.map(([name, value]) => `${name}: ${value}`).join("\n"));
  const node = h("pre", { tabindex: "0" }, "…");
  fetch(`/_sandbox/mail/${mail.id}/raw`).then((answer) => answer.text()).then((text) => { node.textContent = text; });
  return node;
}

function report(kind) {
  const mail = state.open, bounced = kind === "bounce";
  ask({
    title: bounced ? "Bounce this mail" : "Call this mail spam",
    text: bounced ? "Makes the delivery status notification that a mail server would send back." : "Makes the abuse report that a mailbox provider would send.",
    body: [
      field("Recipient", h("input", { name: "recipient", value: mail.rcpt_to[0] ?? "", required: true })),
      bounced ? field("Status", h("input", { name: "status", value: "5.1.1", required: true }), "5.1.1 no such mailbox, 5.2.2 full, 4.4.7 gave up") : null,
      field("Post it to", h("input", { name: "url", type: "url", placeholder: "https://…" }), "Left empty, it is downloaded."),
    ].filter(Boolean),
    confirm: "Make it",
    submit: (given) => made(mail, kind, given),
  });
}

async function made(mail, kind, { url, ...given }) {
  const path = `/_sandbox/mail/${mail.id}/${kind}`;
  if (url) {
    const { status } = await post(path, { ...given, url });
    toast(`The address answered ${status}.`);
    return;
  }
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given) });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  const link = h("a", { href: URL.createObjectURL(await answer.blob()), download: `${kind}-${mail.id}.eml` });
  link.click();
  URL.revokeObjectURL(link.href);
}

async function live() {
  await poll();
  setTimeout(live, document.hidden ? 5000 : EVERY);
}

$("find").addEventListener("input", poll);
live();
if (location.hash.length > 1) open(location.hash.slice(1));
