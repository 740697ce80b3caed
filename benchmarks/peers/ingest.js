// A durable webhook in Node: check the signature, insert the event, add a BullMQ job, answer. PROCESSES of it.
const cluster = require("node:cluster");
const crypto = require("node:crypto");

async function serve() {
  const { Pool } = require("pg");
  const { Queue } = require("bullmq");
  const pool = new Pool({ connectionString: process.env.PEER_DATABASE_URL, max: 16 });
  const redis = new URL(process.env.REDIS_URL);
  const queue = new Queue("inbound", {
    connection: { host: redis.hostname, port: +redis.port, password: decodeURIComponent(redis.password) },
    defaultJobOptions: { attempts: 3, backoff: { type: "exponential", delay: 1000 }, removeOnComplete: true },
  });
  const app = require("fastify")({ logger: false });
  app.addContentTypeParser("application/json", { parseAs: "buffer" }, (request, body, done) => done(null, body));
  app.post("/webhooks/whatsapp", async (request, reply) => {
    const mac = crypto.createHmac("sha256", process.env.APP_SECRET).update(request.body).digest("hex");
    const given = Buffer.from(String(request.headers["x-hub-signature-256"]));
    const wanted = Buffer.from(`sha256=${mac}`);
    if (given.length !== wanted.length || !crypto.timingSafeEqual(given, wanted)) return reply.code(401).send();
    const message = JSON.parse(request.body).entry[0].changes[0].value.messages[0];
    const stored = await pool.query({
      name: "insert",
      text: `INSERT INTO peer_events (wamid, wa_id, payload) VALUES ($1, $2, $3) ON CONFLICT (wamid) DO NOTHING`,
      values: [message.id, message.from, request.body],
    });
    if (stored.rowCount) await queue.add("inbound", { id: message.id });
    return "ok";
  });
  await app.listen({ host: "127.0.0.1", port: +process.env.PORT, backlog: 2048 });
}

if (cluster.isPrimary) for (let i = 0; i < +process.env.PROCESSES; i++) cluster.fork();
else serve();
