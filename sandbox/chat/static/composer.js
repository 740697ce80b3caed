// The lower edge of the phone: write, attach, answer, edit.
import { $, h, icon, menu } from "./dom.js";
import { summary } from "./text.js";

const FILES = [
  { icon: "photo", text: "Photo or video", accept: "image/jpeg,image/png,image/webp,video/mp4,video/3gpp", as: "" },
  { icon: "mic", text: "Voice message", accept: "audio/*,.ogg,.opus", as: "voice" },
  { icon: "document", text: "Document", accept: "*/*", as: "document" },
];

export class Composer {
  /** `act` has say, send, locate, contact, unblock and lastOwn. */
  constructor(act) {
    this.act = act;
    this.node = $("compose");
    this.drafts = new Map();
    this.about = null;
    this.text = h("textarea", { rows: 1, placeholder: "Message", "aria-label": "Message to the business", autocomplete: "off", oninput: () => this.grow(), onkeydown: (event) => this.key(event), onpaste: (event) => this.paste(event) });
    this.attach = h("button", { type: "button", class: "round", "aria-label": "Attach", "aria-haspopup": "menu", title: "Attach", onclick: () => this.offer() }, icon("plus"));
    this.send = h("button", { type: "submit", class: "round accent", "aria-label": "Send" }, icon("send"));
    this.form = h("form", { onsubmit: (event) => { event.preventDefault(); this.submit(); } }, this.attach, this.text, this.send);
    this.notice = h("div", { class: "notice", hidden: true });
    this.box = h("div", { class: "about-to", hidden: true });
    const phone = $("phone");
    phone.addEventListener("dragover", (event) => { if (event.dataTransfer.types.includes("Files")) { event.preventDefault(); phone.classList.add("dropping"); } });
    phone.addEventListener("dragleave", (event) => { if (!phone.contains(event.relatedTarget)) phone.classList.remove("dropping"); });
    phone.addEventListener("drop", (event) => { event.preventDefault(); phone.classList.remove("dropping"); this.files(event.dataTransfer.files, ""); });
  }

  /** Show the composer of a customer, or what stands in its place. */
  open(customer) {
    if (this.customer?.key !== customer.key) {
      if (this.customer) this.drafts.set(this.customer.key, this.text.value);
      this.text.value = this.drafts.get(customer.key) ?? "";
      this.cancel();
    }
    const before = this.customer;
    this.customer = customer;
    this.node.hidden = false;
    this.notice.hidden = !customer.shut_out;
    this.notice.textContent = "The business blocked this customer. It does not hear what you write.";
    if (customer.blocked) {
      this.node.replaceChildren(h("div", { class: "blocked" }, "You blocked this business. What it sends does not arrive.", h("button", { type: "button", class: "button main", onclick: () => this.act.unblock() }, "Unblock")));
    } else if (!this.form.isConnected || before?.key !== customer.key) {
      this.node.replaceChildren(this.notice, this.box, this.form);
      this.grow();
    }
  }

  focus() {
    if (matchMedia("(hover: hover)").matches) this.text.focus({ preventScroll: true });
  }

  grow() {
    this.text.style.height = "auto";
    this.text.style.height = `${Math.min(this.text.scrollHeight, 132)}px`;
    this.send.disabled = !this.text.value.trim() && !this.about?.file;
  }

  key(event) {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); this.submit(); }
    if (event.key === "Escape" && this.about) { event.stopPropagation(); this.cancel(); }
    if (event.key === "ArrowUp" && !this.text.value) {
      const own = this.act.lastOwn();
      if (own) { event.preventDefault(); this.edit(own); }
    }
  }

  paste(event) {
    if (event.clipboardData.files.length) { event.preventDefault(); this.files(event.clipboardData.files, ""); }
  }

  async submit() {
    const text = this.text.value.trim();
    const about = this.about;
    if (!text && !about?.file) return;
    this.text.value = "";
    this.cancel();
    try {
      if (about?.file) await this.act.send(about.file, about.as, text, about.reply?.id);
      else if (about?.edit) await this.act.say({ type: "edit", edit: { original_message_id: about.edit.id, message: { type: "text", text: { body: text } } } });
      else await this.act.say({ type: "text", text: { body: text }, ...(about?.reply ? { context: { id: about.reply.id } } : {}) });
    } catch {
      this.text.value ||= text;
      this.grow();
    }
  }

  reply(message) {
    this.show({ reply: message }, message.mine ? "You" : "Reply", summary(message));
  }

  edit(message) {
    this.text.value = message.body.text.body;
    this.show({ edit: message }, "Edit message", summary(message));
  }

  files(files, as) {
    const file = files[0];
    if (!file) return;
    const url = file.type.startsWith("image/") && as !== "document" ? URL.createObjectURL(file) : null;
    this.show({ file, as, url, reply: this.about?.reply }, file.name, "Add a caption, or just send it", url);
  }

  show(about, title, text, url) {
    this.about = about;
    this.box.hidden = false;
    this.box.replaceChildren(...[url ? h("img", { src: url, alt: "" }) : null, h("div", {}, h("b", {}, title), h("span", {}, text)),
      h("button", { type: "button", class: "round", "aria-label": "Do not", onclick: () => this.cancel() }, icon("close"))].filter(Boolean));
    this.grow();
    this.text.focus();
  }

  cancel() {
    if (this.about?.url) URL.revokeObjectURL(this.about.url);
    if (this.about?.edit) this.text.value = "";
    this.about = null;
    this.box.hidden = true;
    this.grow();
  }

  offer() {
    menu(this.attach, [
      ...FILES.map((kind) => ({ icon: kind.icon, text: kind.text, run: () => this.choose(kind) })),
      { icon: "pin", text: "Location", run: () => this.act.locate() },
      { icon: "contact", text: "Contact", run: () => this.act.contact() },
    ]);
  }

  choose(kind) {
    const input = h("input", { type: "file", accept: kind.accept, onchange: () => this.files(input.files, kind.as) });
    input.click();
  }
}
