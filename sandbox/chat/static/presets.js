// Faults and limits that are one press away.

const ON = { kind: "message" };

export const FAULTS = [
  { name: "Slow, 3 s", title: "Every message is answered after three seconds", rule: { match: ON, action: { delay: 3 } } },
  { name: "Error 500, one in three", title: "131000: the outcome is unknown to the sender", rule: { match: ON, action: { status: 500, error_code: 131000 }, probability: 0.33 } },
  { name: "HTML 502", title: "A gateway's error page instead of JSON, five times", rule: { match: ON, action: { status: 502, body: "<html><h1>502 Bad Gateway</h1></html>" }, times: 5 } },
  { name: "Rate limit 429", title: "130429 for the next twenty messages", rule: { match: ON, action: { status: 429, error_code: 130429 }, times: 20 } },
  { name: "Pair limit", title: "131056 for the next three messages", rule: { match: ON, action: { status: 429, error_code: 131056 }, times: 3 } },
  { name: "Token expired", title: "190 for everything", rule: { match: {}, action: { status: 401, error_code: 190 } } },
  { name: "Cut before accepting", title: "The connection is closed, the message is not taken; five times", rule: { match: ON, action: { drop: "before" }, times: 5 } },
  { name: "Cut after accepting", title: "The message is taken but the answer is lost; five times", rule: { match: ON, action: { drop: "after" }, times: 5 } },
  { name: "Undeliverable, one in five", title: "131026 comes later as a failed status", rule: { match: ON, action: { status_code: 131026 }, probability: 0.2 } },
  { name: "Marketing cap", title: "131049 comes later as a failed status", rule: { match: ON, action: { status_code: 131049 } } },
  { name: "Webhooks three times", title: "Every status comes three times", rule: { match: ON, action: { duplicate: 3 } } },
  { name: "Webhooks out of order", title: "read before delivered before sent", rule: { match: ON, action: { reorder: true } } },
  { name: "Webhooks 10 s late", title: "Statuses come ten seconds late", rule: { match: ON, action: { late: 10 } } },
  { name: "No statuses", title: "Messages are taken and never heard of again", rule: { match: ON, action: { statuses: "none" } } },
  { name: "AI provider down", title: "503 for every chat completion", rule: { match: { kind: "chat_completion" }, action: { status: 503 } } },
  { name: "AI slow, 15 s", title: "Chat completions take fifteen seconds", rule: { match: { kind: "chat_completion" }, action: { delay: 15 } } },
  { name: "SMS gateway 503", title: "The JSON gateway and the Twilio one answer 503, five times", rule: { match: { path: "^/(sms|twilio)/" }, action: { status: 503, headers: { "Retry-After": "2" } }, times: 5 } },
  { name: "SMS not delivered", title: "30003 comes later as a failed receipt", rule: { match: { path: "^/(sms|twilio)/" }, action: { status_code: 30003 } } },
  { name: "Mail greylisted once", title: "450 to the next recipient, then all is well", rule: { match: { kind: "smtp", path: "RCPT" }, action: { status: 450 }, times: 1 } },
  { name: "No such mailbox", title: "550 5.1.1 to every recipient", rule: { match: { kind: "smtp", path: "RCPT" }, action: { status: 550 } } },
  { name: "Mail cut after accepting", title: "The mail is taken but the reply is lost; five times", rule: { match: { kind: "smtp", path: "DATA" }, action: { drop: "after" }, times: 5 } },
];

export const LIMITS = [
  { name: "80 messages a second", title: "A number's usual throughput; more is refused with 130429", limits: { messages_per_second: 80 } },
  { name: "20 messages a minute", title: "More is refused with 130429", limits: { per_minute: 20 } },
  { name: "Pair limit", title: "One message in six seconds to the same customer after 45; more is refused with 131056", limits: { pair: { per_seconds: 6, burst: 45 } } },
  { name: "250 customers a day", title: "More customers outside the 24-hour window are refused with 131048", limits: { unique_per_day: 250 } },
  { name: "Count only", title: "What is over a limit is counted but not refused", limits: { enforce: false } },
  { name: "24-hour window", title: "Free messages to customers who did not write fail with 131047", limits: { enforce_window: true } },
  { name: "Batches of 100", title: "Up to a hundred webhook updates in one request", limits: { batch: 100, batch_wait_ms: 200 } },
];
