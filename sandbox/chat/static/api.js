// The sandbox's JSON, as the pages use it.

export async function call(method, path, body) {
  const form = body instanceof FormData;
  const response = await fetch(path, {
    method,
    headers: body && !form ? { "Content-Type": "application/json" } : {},
    body: body ? (form ? body : JSON.stringify(body)) : undefined,
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error?.message ?? `The sandbox answered ${response.status}.`);
  return answer;
}

export const get = (path) => call("GET", path);
export const post = (path, body) => call("POST", path, body);

/** How webhook delivery is doing, as the banner shows it. */
export function showHealth(health, faults) {
  const box = document.getElementById("health");
  const text = document.getElementById("health-text");
  const failing = health?.last_error;
  box.dataset.state = !health || failing ? "bad" : health.pending > 20 ? "busy" : "ok";
  if (!health) text.textContent = "The sandbox does not answer";
  else if (failing) text.textContent = `${health.last_error} ${health.pending} waiting`;
  else text.textContent = health.pending > 20 ? `${health.pending} webhooks on their way` : "Webhooks delivered";
  box.title = failing ? "Webhooks to the CRM are retried for hours. Click to try now." : "Webhooks to the CRM";
  const link = document.getElementById("faults-on");
  link.hidden = !faults;
  link.textContent = faults === 1 ? "1 fault active" : `${faults} faults active`;
}

document.getElementById("health").addEventListener("click", () => post("/_sandbox/webhooks/retry", {}).catch(() => {}));
