// BullMQ as a team would use it for sends: one job a message, 200 at once, one HTTP request each.
const { Queue, Worker } = require('bullmq');
const { request, Agent } = require('undici');

const { REDIS_URL, PROVIDER, JOBS, CONCURRENCY } = process.env;
const address = new URL(REDIS_URL);
const connection = { host: address.hostname, port: +address.port, password: address.password, maxRetriesPerRequest: null };
const dispatcher = new Agent({ connections: +CONCURRENCY });
const total = +JOBS;
let done = 0;

async function send(job) {
  const body = JSON.stringify({
    messaging_product: 'whatsapp', to: job.data.to, type: 'text', text: { body: 'Hello' },
  });
  const answer = await request(PROVIDER, {
    method: 'POST', body, dispatcher, headers: { 'content-type': 'application/json', authorization: 'Bearer x' },
  });
  const said = await answer.body.json();
  done += 1;
  if (done === total) console.log('done');
  return { sent: true, messageId: said.messages[0].id };
}

async function main() {
  const queue = new Queue('messages', { connection });
  for (let first = 0; first < total; first += 500) {
    const jobs = [];
    for (let n = first; n < Math.min(first + 500, total); n += 1) {
      const opts = { attempts: 3, backoff: { type: 'exponential', delay: 5000 }, removeOnComplete: 100 };
      jobs.push({ name: 'send', data: { to: `+1555${n}` }, opts });
    }
    await queue.addBulk(jobs);
  }
  console.log('filled');
  new Worker('messages', send, { connection, concurrency: +CONCURRENCY });
}

main();
