// Questions the page asks: who is the new customer, where are they, which number do they change to.
import { post } from "./api.js";
import { ask, field, h, toast } from "./dom.js";

const NAMES = ["Maya Costa", "Tariq Nair", "Lena Fischer", "Jonas Berg", "Aisha Khan", "Rafael Dias", "Yara Haddad", "Hugo Moreau", "Priya Joshi", "Emeka Okafor"];
const KINDS = [
  ["phone", "Phone number", "What the CRM has always seen."],
  ["both", "Phone number and user id", "Webhooks also carry the business-scoped user id (BSUID)."],
  ["username", "Username, number visible", "The number is known because the two wrote before."],
  ["hidden", "Username, number hidden", "The CRM sees only the user id and the username."],
];

const random = (items) => items[Math.floor(Math.random() * items.length)];
const digits = (count) => String(Math.floor(Math.random() * 10 ** count)).padStart(count, "0");
export const somePhone = () => `+1 555 ${digits(3)} ${digits(4)}`;

export function addCustomer(save) {
  const name = random(NAMES);
  const username = h("input", { name: "username", value: name.toLowerCase().replace(" ", "."), autocomplete: "off", maxLength: 60 });
  const extra = field("Username", username);
  const show = (kind) => { extra.hidden = kind !== "username" && kind !== "hidden"; };
  show("phone");
  const choices = KINDS.map(([value, title, text], n) => h("label", { class: "choice" },
    h("input", { type: "radio", name: "kind", value, checked: n === 0, onchange: () => show(value) }), h("span", {}, h("b", {}, title), h("small", {}, text))));
  const dialog = ask({
    title: "New customer", confirm: "Add",
    body: [
      h("div", { class: "pair" }, field("Name", h("input", { name: "name", value: name, required: true, maxLength: 80, autocomplete: "off" })),
        field("Phone number", h("input", { name: "phone", value: somePhone(), type: "tel", autocomplete: "off" }))),
      h("fieldset", { class: "choices", "aria-label": "What the business sees" }, choices), extra,
    ],
    submit: (form) => save({
      name: form.name, phone: form.phone, bsuid: form.kind !== "phone", hidden: form.kind === "hidden",
      ...(form.kind === "username" || form.kind === "hidden" ? { username: form.username } : {}),
    }),
  });
  dialog.querySelector("input[name=name]").select();
}

export function examples() {
  return [
    { name: "Maya Costa", phone: "+1 555 201 4477" },
    { name: "Lena Fischer", phone: "+49 151 2345 6789", username: "lena.fischer", bsuid: true },
    { name: "Tariq Nair", phone: "+91 98765 43210", username: "tariq", hidden: true, bsuid: true },
  ];
}

export function locate(say, replyTo) {
  ask({
    title: "Share a location", confirm: "Send",
    body: [
      h("div", { class: "pair" }, field("Latitude", h("input", { name: "latitude", value: "38.7223", inputMode: "decimal", required: true })), field("Longitude", h("input", { name: "longitude", value: "-9.1393", inputMode: "decimal", required: true }))),
      field("Name", h("input", { name: "name", value: "Praça do Comércio" })), field("Address", h("input", { name: "address", value: "Lisboa" })),
    ],
    submit: async (form) => {
      const latitude = Number(form.latitude), longitude = Number(form.longitude);
      if (!(Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180)) throw new Error("Latitude goes from -90 to 90, longitude from -180 to 180.");
      const location = { latitude, longitude, ...(form.name ? { name: form.name } : {}), ...(form.address ? { address: form.address } : {}) };
      await say({ type: "location", location, ...(replyTo ? { context: { id: replyTo } } : {}) });
    },
  });
}

export function shareContact(say) {
  ask({
    title: "Share a contact", confirm: "Send",
    body: [field("Name", h("input", { name: "name", value: random(NAMES), required: true })), field("Phone number", h("input", { name: "phone", value: somePhone(), type: "tel", required: true }))],
    submit: (form) => say({ type: "contacts", contacts: [card(form.name, form.phone)] }),
  });
}

export function card(name, phone) {
  const [first, ...rest] = name.trim().split(" ");
  return { name: { formatted_name: name, first_name: first, ...(rest.length ? { last_name: rest.join(" ") } : {}) }, phones: [{ phone, type: "MOBILE", wa_id: phone.replace(/\D/g, "") }] };
}

export function rename(customer, save) {
  ask({ title: "Rename the customer", text: "The CRM sees the new name with the next message.", body: [field("Name", h("input", { name: "name", value: customer.name, required: true, maxLength: 80 }))], submit: ({ name }) => save({ name }) });
}

export function textMessage(customer) {
  ask({
    title: `SMS from ${customer.name}`, confirm: "Send", text: "Goes to the CRM the way an SMS gateway brings it.",
    body: [
      field("Text", h("textarea", { name: "message", required: true, maxLength: 1600 })),
      field("Gateway", h("select", { name: "gateway" }, h("option", { value: "sms" }, "JSON gateway"), h("option", { value: "twilio" }, "Twilio"))),
      field("Address of the CRM", h("input", { name: "url", type: "url", placeholder: "https://…" }), "Left empty, it goes where the gateway was told to send callbacks."),
    ],
    submit: async ({ url, ...given }) => {
      const phone = customer.phone.startsWith("+") ? customer.phone : `+${customer.phone}`;
      await post("/_sandbox/sms/inbound", { from: phone, ...given, ...(url ? { url } : {}) });
      toast("On its way.");
    },
  });
}

export function changeNumber(customer, save) {
  ask({
    title: "Change the phone number", confirm: "Change",
    text: `${customer.name} keeps the chats. The CRM is told by a system message${customer.user_id ? "; the user id changes with the number" : ""}.`,
    body: [field("New phone number", h("input", { name: "phone", value: somePhone(), type: "tel", required: true }), `Now ${customer.phone ?? "unknown"}`)],
    submit: ({ phone }) => save({ phone }),
  });
}

export function remove(customer, drop) {
  ask({ title: `Remove ${customer.name}?`, text: "The customer and the conversation leave this page. The CRM keeps what it has.", confirm: "Remove", danger: true, submit: drop });
}
