// The list of customers.
import { $, avatar, clock, dayName, h } from "./dom.js";
import { ticks } from "./bubble.js";

export class People {
  /** `choose` opens a chat; `offers` are the first things to do while there is none: [text, what] pairs. */
  constructor(choose, offers) {
    this.choose = choose;
    this.offers = offers;
    this.node = $("list");
    this.shown = "";
    this.node.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const rows = [...this.node.querySelectorAll(".person")];
      rows[(rows.indexOf(document.activeElement) + step + rows.length) % rows.length]?.focus();
    });
  }

  update(customers, open, searching) {
    const state = JSON.stringify([customers, open, searching]);
    if (state === this.shown) return;
    this.shown = state;
    const focused = document.activeElement?.closest?.(".person")?.dataset.key;
    this.node.replaceChildren(...customers.map((customer) => h("li", {}, this.row(customer, open))));
    if (!customers.length) this.node.append(this.nobody(searching));
    if (focused) this.node.querySelector(`.person[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    $("people-foot").hidden = !customers.length;
  }

  nobody(searching) {
    if (searching) return h("li", { class: "none" }, "Nobody is called that.");
    const buttons = this.offers.map(([text, run], n) => h("button", { type: "button", class: `button${n ? "" : " main"}`, onclick: run }, text));
    return h("li", { class: "none" }, h("p", {}, "Nobody here yet."), h("div", { class: "offers" }, buttons));
  }

  row(customer, open) {
    const { last } = customer;
    return h("button", {
      type: "button", class: `person${customer.unread ? " has-unread" : ""}`, dataset: { key: customer.key },
      "aria-current": String(customer.key === open), onclick: () => this.choose(customer.key),
    },
      avatar(customer.name),
      h("span", { class: "about" },
        h("span", { class: "line" }, h("span", { class: "name" }, customer.name), last ? h("time", {}, when(last.t)) : null),
        h("span", { class: "line" }, customer.typing ? h("span", { class: "preview typing" }, "typing…") : preview(last),
          customer.unread ? h("span", { class: "unread", "aria-label": `${customer.unread} unread` }, String(customer.unread)) : null),
        h("span", { class: "address" }, address(customer), customer.blocked ? [" ", h("span", { class: "badge bad" }, "blocked")] : null,
          customer.stopped ? [" ", h("span", { class: "badge" }, "no marketing")] : null)));
  }
}

/** How the business can see a customer. */
export function address(customer) {
  const name = customer.username ? `@${customer.username}` : null;
  if (customer.hidden || !customer.phone) return [name, "number hidden"].filter(Boolean).join(" · ");
  return [spaced(customer.phone), name].filter(Boolean).join(" · ");
}

const SHAPES = [
  [/^\+1(\d{3})(\d{3})(\d{4})$/, "+1 $1 $2 $3"], [/^\+49(\d{3})(\d{4})(\d{3,4})$/, "+49 $1 $2 $3"],
  [/^\+55(\d{2})(\d{4,5})(\d{4})$/, "+55 $1 $2 $3"], [/^\+91(\d{5})(\d{5})$/, "+91 $1 $2"], [/^\+44(\d{4})(\d{6})$/, "+44 $1 $2"],
];

export function spaced(phone) {
  for (const [shape, groups] of SHAPES) if (shape.test(phone)) return phone.replace(shape, groups);
  return phone;
}

function preview(last) {
  if (!last) return h("span", { class: "preview" }, "Say hello");
  return h("span", { class: "preview" }, last.mine ? ticks(last.state) : null, last.text);
}

function when(seconds) {
  const day = dayName(seconds);
  return day === "Today" ? clock(seconds) : day === "Yesterday" ? day : new Date(seconds * 1000).toLocaleDateString([], { day: "numeric", month: "short" });
}
