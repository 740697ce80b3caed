// Building blocks of the page: elements, icons, menus, dialogs and small notes.

/** Make an element. `props` may hold attributes, `on…` handlers, `dataset` and DOM properties. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "dataset") Object.assign(node.dataset, value);
    else if (key === "class") node.className = value;
    else if (key in node && key !== "list" && key !== "form") node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an icon out of the page's sprite. */
export function icon(name, className = "") {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  if (className) svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

export const $ = (id) => document.getElementById(id);

/** Tell something that passes by itself. */
export function toast(text) {
  const note = h("div", { class: "toast" }, text);
  $("toasts").append(note);
  setTimeout(() => note.remove(), 4200);
}

/** Show a menu beside an element or a point. Items: {icon, text, run, bad} or "-" or a node. */
export function menu(anchor, items) {
  closeMenu();
  const rows = items.filter(Boolean).map((item) => {
    if (item === "-") return h("hr");
    if (item instanceof Node) return item;
    return h("button", { type: "button", role: "menuitem", class: item.bad ? "bad" : "", onclick: () => { closeMenu(); item.run(); } },
      icon(item.icon), h("span", {}, item.text));
  });
  const box = h("div", { class: "menu", role: "menu", id: "open-menu" }, rows);
  document.body.append(box);
  const at = anchor instanceof Element ? anchor.getBoundingClientRect() : { left: anchor.x, right: anchor.x, top: anchor.y, bottom: anchor.y };
  const size = box.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.right - size.width, innerWidth - size.width - 8));
  const below = at.bottom + 6 + size.height < innerHeight;
  box.style.left = `${at.left < 160 && anchor instanceof Element ? at.left : left}px`;
  box.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - size.height - 6)}px`;
  if (anchor instanceof Element) anchor.setAttribute("aria-expanded", "true");
  box.opener = anchor instanceof Element ? anchor : document.activeElement;
  box.querySelector("button")?.focus({ preventScroll: true });
  box.addEventListener("keydown", moveInMenu);
}

export function closeMenu() {
  const box = $("open-menu");
  if (!box) return;
  box.opener?.removeAttribute?.("aria-expanded");
  box.remove();
  box.opener?.focus?.({ preventScroll: true });
}

function moveInMenu(event) {
  const buttons = [...event.currentTarget.querySelectorAll("button")];
  const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
  if (step) {
    event.preventDefault();
    const place = buttons.indexOf(document.activeElement);
    buttons[(place + step + buttons.length) % buttons.length].focus();
  } else if (event.key === "Escape" || event.key === "Tab") {
    event.preventDefault();
    event.stopPropagation();
    closeMenu();
  }
}

document.addEventListener("pointerdown", (event) => {
  const box = $("open-menu");
  if (box && !box.contains(event.target) && !box.opener?.contains?.(event.target)) closeMenu();
});

/** Ask with a dialog. `submit` gets the form's values and may throw: the message is shown and the dialog stays. */
export function ask({ title, text, body = [], confirm = "Save", danger = false, submit }) {
  const problem = h("p", { class: "problem", role: "alert", hidden: true });
  const accept = h("button", { class: `button ${danger ? "bad" : "main"}`, type: "submit" }, confirm);
  const form = h("form", { method: "dialog" },
    h("h2", {}, title), text ? h("p", {}, text) : null, body, problem,
    h("div", { class: "actions" },
      h("button", { class: "button", type: "button", onclick: () => dialog.close() }, "Cancel"), accept));
  const dialog = h("dialog", { "aria-label": title }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    accept.disabled = true;
    try {
      await submit(Object.fromEntries(new FormData(form)), form);
      dialog.close();
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      accept.disabled = false;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export function field(label, input, hint) {
  return h("label", { class: "field" }, label, input, hint ? h("span", { class: "hint" }, hint) : null);
}

/** The initials and the colour somebody's round picture has. */
export function avatar(name, extra = "") {
  const words = name.replace(/[^\p{L}\p{N} ]/gu, "").trim().split(/\s+/);
  const letters = words.length > 1 ? words[0][0] + words.at(-1)[0] : (words[0] || "?").slice(0, 2);
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  return h("span", { class: `avatar tint-${sum % 8} ${extra}`, "aria-hidden": "true" }, letters.toUpperCase());
}

export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

export function dayName(seconds) {
  const then = new Date(seconds * 1000), now = new Date();
  const days = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(then).setHours(0, 0, 0, 0)) / 864e5);
  if (days === 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days > 1 && days < 7) return then.toLocaleDateString([], { weekday: "long" });
  return then.toLocaleDateString([], { day: "numeric", month: "long", year: "numeric" });
}

export function bytes(size) {
  if (size < 1024) return `${size} B`;
  return size < 1024 * 1024 ? `${Math.round(size / 1024)} kB` : `${(size / 1024 / 1024).toFixed(1)} MB`;
}
