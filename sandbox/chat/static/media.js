// What is not text: pictures, films, voice messages, files, places and contact cards.
import { avatar, bytes, h, icon } from "./dom.js";

/** Where the page gets a file from: the sandbox itself, also for what the business sent as a link. */
export function source(message, part) {
  if (part.id) return `/_sandbox/chat/media/${encodeURIComponent(part.id)}`;
  return `/_sandbox/chat/link?message=${encodeURIComponent(message.id)}&url=${encodeURIComponent(part.link ?? "")}`;
}

export function medium(kind, message, part, last) {
  if (kind === "image") return picture(message, part, last);
  if (kind === "video") return film(message, part);
  if (kind === "audio") return voice(message, part);
  if (kind === "sticker") return sticker(message, part);
  if (kind === "document") return file(message, part);
  return null;
}

function missing(name, part) {
  return h("div", { class: "missing" }, icon(name), h("span", {}, part.link ? `Cannot be fetched: ${part.link}` : "This file cannot be shown."));
}

function picture(message, part, last) {
  const img = h("img", { src: source(message, part), alt: part.caption || "Photo" });
  const box = h("button", { type: "button", class: `picture${last ? " last" : ""}`, "aria-label": "Show the photo", onclick: () => view(img.src, img.alt) }, img);
  img.addEventListener("error", () => box.replaceWith(missing("photo", part)));
  return box;
}

function view(src, alt) {
  const dialog = h("dialog", { class: "viewer", "aria-label": alt, onclick: () => dialog.close() }, h("img", { src, alt }));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function sticker(message, part) {
  const img = h("img", { class: "sticker", src: source(message, part), alt: "Sticker" });
  img.addEventListener("error", () => img.replaceWith(missing("smile", part)));
  return img;
}

function film(message, part) {
  const video = h("video", { class: "film", src: source(message, part), controls: true, preload: "metadata" });
  video.addEventListener("error", () => video.replaceWith(missing("play", part)));
  return video;
}

let playing = null;

function voice(message, part) {
  const audio = new Audio();
  audio.preload = "metadata";
  audio.src = source(message, part);
  const bars = Array.from({ length: 38 }, (_, n) => {
    const bar = h("i");
    bar.style.height = `${18 + ((n * 37 + message.id.charCodeAt(20 + (n % 12)) * 13) % 70)}%`;
    return bar;
  });
  const time = h("div", { class: "voice-time" }, "0:00");
  const toggle = h("button", { type: "button", "aria-label": "Play the voice message" }, icon("play"));
  const wave = h("div", { class: "wave", "aria-hidden": "true" }, bars);
  const show = () => {
    const share = audio.duration ? audio.currentTime / audio.duration : 0;
    bars.forEach((bar, n) => bar.classList.toggle("done", n / bars.length < share));
    const seconds = Math.round(audio.paused && !audio.currentTime ? audio.duration || 0 : audio.currentTime);
    time.textContent = Number.isFinite(seconds) ? `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}` : "0:00";
    toggle.replaceChildren(icon(audio.paused ? "play" : "pause"));
  };
  for (const name of ["timeupdate", "play", "pause", "loadedmetadata", "ended"]) audio.addEventListener(name, show);
  audio.addEventListener("error", () => { time.textContent = "cannot be played"; toggle.disabled = true; });
  toggle.addEventListener("click", () => {
    if (!audio.paused) { audio.pause(); return; }
    playing?.pause();
    playing = audio;
    audio.play().catch(() => {});
  });
  wave.addEventListener("click", (event) => {
    if (audio.duration) audio.currentTime = (event.offsetX / wave.clientWidth) * audio.duration;
  });
  return h("div", {}, h("div", { class: "voice" }, toggle, wave, avatar(message.mine ? "Me" : "Shop")), time);
}

function file(message, part) {
  const name = part.filename ?? message.media?.filename ?? part.link?.split("/").pop() ?? "Document";
  const ending = (/\.([a-z0-9]{1,4})$/i.exec(name)?.[1] ?? message.media?.mime_type?.split("/").pop()?.slice(0, 4) ?? "file").toUpperCase();
  const colour = /PDF/.test(ending) ? "" : /DOC|TXT|RTF/.test(ending) ? "blue" : /XLS|CSV/.test(ending) ? "green" : "grey";
  const about = [message.media ? bytes(message.media.size) : "link", ending].join(" · ");
  return h("a", { class: "card", href: source(message, part), download: name },
    h("span", { class: `mark ${colour}` }, ending), h("div", {}, h("b", {}, name), h("small", {}, about)));
}

export function place(part) {
  const where = `${Number(part.latitude).toFixed(4)}, ${Number(part.longitude).toFixed(4)}`;
  return h("div", { class: "place" }, h("span", { class: "map", role: "img", "aria-label": `A map around ${where}` }, icon("pin")),
    h("div", {}, h("b", {}, part.name || "Shared location"), part.address ? h("small", {}, part.address) : null, h("small", {}, where)));
}

export function contacts(people) {
  return (Array.isArray(people) ? people : []).map((person) => {
    const name = person?.name?.formatted_name ?? "Contact";
    const lines = [...(person.phones ?? []).map((each) => each.phone ?? each.wa_id), ...(person.emails ?? []).map((each) => each.email)];
    return h("div", { class: "card" }, avatar(name),
      h("div", {}, h("b", {}, name), person.org?.company ? h("small", {}, person.org.company) : null, lines.filter(Boolean).map((line) => h("small", {}, line))));
  });
}
