// The conversation on the screen: keeps one node per message and touches only what changed.
import { $, clock, dayName, h, icon, menu } from "./dom.js";
import { bubble } from "./bubble.js";
import { summary } from "./text.js";

const QUICK = ["👍", "❤️", "😂", "😮", "😢", "🙏"];
const NEAR = 120;

export class Thread {
  /** `act` does what a customer can do to a message. */
  constructor(act) {
    this.act = act;
    this.node = $("thread");
    this.toEnd = $("to-end");
    this.tools = {
      find: (id) => this.messages.get(id),
      jump: (id) => this.jump(id),
      shop: () => this.shop,
      ...act,
    };
    this.clear();
    this.node.addEventListener("scroll", () => this.scrolled());
    const settle = () => { if (this.stick) this.end(false); };
    for (const name of ["load", "error", "loadedmetadata"]) this.node.addEventListener(name, settle, true);
    new ResizeObserver(settle).observe(this.node);
    this.toEnd.addEventListener("click", () => this.end(true));
    this.node.addEventListener("keydown", (event) => this.key(event));
  }

  clear() {
    this.messages = new Map();
    this.nodes = new Map();
    this.missed = 0;
    this.stick = true;
    this.loaded = false;
    this.typing = null;
    this.node.replaceChildren();
    this.toEnd.hidden = true;
  }

  /** Take over what changed. */
  update(messages, typing, shop) {
    this.shop = shop;
    const stay = this.atEnd();
    let fresh = 0, own = false;
    for (const message of messages) {
      const old = this.nodes.get(message.id);
      this.messages.set(message.id, message);
      const node = this.draw(message);
      if (old) old.replaceWith(node);
      else {
        this.append(message, node);
        fresh += message.mine ? 0 : 1;
        own ||= message.mine;
        if (this.loaded) node.classList.add("new");
      }
      this.nodes.set(message.id, node);
    }
    this.showTyping(typing);
    if (!this.loaded || stay || own) this.end(false);
    else if (fresh) this.missed += fresh;
    this.loaded = true;
    this.scrolled();
  }

  append(message, node) {
    const day = dayName(message.t);
    const last = this.node.querySelector(":scope > :last-child:not(.typing)") ?? this.typing?.previousElementSibling;
    if (this.node.dataset.day !== day || !last) {
      this.node.dataset.day = day;
      this.put(h("div", { class: "day" }, day));
    }
    this.put(node);
  }

  put(node) {
    if (this.typing?.isConnected) this.typing.before(node);
    else this.node.append(node);
  }

  draw(message) {
    const shown = bubble(message, this.tools);
    if (shown.note) return h("div", { class: "note", dataset: { id: message.id } }, shown.note);
    const who = message.mine ? "You" : this.shop;
    const item = h("div", {
      class: `item${message.mine ? " mine" : ""}${this.startsTurn(message) ? " turn" : ""}`, tabIndex: 0, dataset: { id: message.id },
      "aria-label": `${who}, ${clock(message.t)}: ${summary(message)}`,
    }, shown.box, shown.below, chips(message));
    if (!message.deleted) this.offer(item, shown.box, message);
    return item;
  }

  startsTurn(message) {
    let before = null;
    for (const other of this.messages.values()) {
      if (other.id === message.id) break;
      before = other;
    }
    return !before || before.mine !== message.mine || before.type === "system" || message.t - before.t > 600 || dayName(before.t) !== dayName(message.t);
  }

  /** Open the menu by the corner handle, a right click, or a long press. */
  offer(item, box, message) {
    const handle = h("button", { type: "button", class: "handle", tabIndex: -1, "aria-label": "What to do with this message", "aria-haspopup": "menu", onclick: () => this.menu(handle, message) }, icon("down"));
    box.append(handle);
    item.addEventListener("contextmenu", (event) => {
      if (event.target.closest("a")) return;
      event.preventDefault();
      this.menu({ x: event.clientX, y: event.clientY }, message);
    });
    let press;
    item.addEventListener("touchstart", (event) => {
      const { clientX, clientY } = event.touches[0];
      press = setTimeout(() => this.menu({ x: clientX, y: clientY }, message), 480);
    }, { passive: true });
    for (const name of ["touchend", "touchmove", "touchcancel"]) item.addEventListener(name, () => clearTimeout(press), { passive: true });
  }

  menu(anchor, message) {
    const chosen = message.reactions?.me;
    const emojis = h("div", { class: "emojis" }, QUICK.map((emoji) => h("button", {
      type: "button", role: "menuitem", "aria-label": `React with ${emoji}`, "aria-pressed": String(chosen === emoji),
      onclick: () => { document.getElementById("open-menu")?.remove(); this.act.react(message, chosen === emoji ? "" : emoji); },
    }, emoji)));
    const text = message.type === "text";
    menu(anchor, [
      emojis,
      "-",
      { icon: "reply", text: "Reply", run: () => this.act.reply(message) },
      text && { icon: "copy", text: "Copy text", run: () => this.act.copy(message.body.text.body) },
      { icon: "copy", text: "Copy message id", run: () => this.act.copy(message.id) },
      message.mine && text && { icon: "edit", text: "Edit", run: () => this.act.edit(message) },
      message.mine && { icon: "trash", text: "Delete for everyone", bad: true, run: () => this.act.revoke(message) },
    ]);
  }

  showTyping(on) {
    if (!on) { this.typing?.remove(); this.typing = null; return; }
    if (this.typing) return;
    this.typing = h("div", { class: "item turn typing new", "aria-label": "The business is typing" }, h("div", { class: "bubble" }, h("div", { class: "dots" }, h("i"), h("i"), h("i"))));
    this.node.append(this.typing);
  }

  key(event) {
    const item = event.target.closest?.(".item");
    if (!item || event.target !== item) return;
    const message = this.messages.get(item.dataset.id);
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); if (message) this.menu(item.querySelector(".handle") ?? item, message); }
    const step = { ArrowUp: "previousElementSibling", ArrowDown: "nextElementSibling" }[event.key];
    if (!step) return;
    event.preventDefault();
    let next = item[step];
    while (next && !next.matches(".item")) next = next[step];
    next?.focus();
  }

  lastOwn() {
    return [...this.messages.values()].reverse().find((message) => message.mine && message.type === "text" && !message.deleted);
  }

  jump(id) {
    const node = this.nodes.get(id);
    node?.scrollIntoView({ block: "center", behavior: "smooth" });
    node?.classList.remove("flash");
    requestAnimationFrame(() => node?.classList.add("flash"));
  }

  atEnd() {
    return this.node.scrollHeight - this.node.scrollTop - this.node.clientHeight < NEAR;
  }

  end(smooth) {
    this.node.scrollTo({ top: this.node.scrollHeight, behavior: smooth ? "smooth" : "instant" });
    this.missed = 0;
    this.stick = true;
  }

  scrolled() {
    const end = this.atEnd();
    this.stick = end;
    if (end) this.missed = 0;
    this.toEnd.hidden = end;
    $("to-end-count").textContent = this.missed || "";
  }
}

function chips(message) {
  const all = Object.entries(message.reactions ?? {});
  if (!all.length || message.deleted) return null;
  return h("div", { class: "chips" }, all.map(([who, emoji]) => h("span", { class: "chip", title: who === "me" ? "You" : "The business" }, emoji)));
}
