// A CSV file into one table as a team would do it: csv-parse, and inserts of 1,000 rows. Nothing is looked at.
const fs = require('node:fs');
const { parse } = require('csv-parse');
const { Client } = require('pg');

const { PEER_DATABASE_URL, FILE, COLUMNS, TABLE } = process.env;
const AT_ONCE = 1000;
const columns = COLUMNS.split(',');

async function main() {
  const client = new Client({ connectionString: PEER_DATABASE_URL });
  await client.connect();
  const started = process.hrtime.bigint();
  let rows = [];
  const flush = async () => {
    const marks = rows.map((_, row) => `(${columns.map((_, n) => `$${row * columns.length + n + 1}`).join(',')})`);
    await client.query({
      name: `insert ${rows.length}`, text: `INSERT INTO ${TABLE} (${COLUMNS}) VALUES ${marks.join(',')}`, values: rows.flat(),
    });
    rows = [];
  };
  for await (const record of fs.createReadStream(FILE).pipe(parse({ from_line: 2 }))) {
    rows.push(record);
    if (rows.length === AT_ONCE) await flush();
  }
  if (rows.length) await flush();
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  const { user, system } = process.cpuUsage();
  await client.end();
  console.log(`done ${seconds} ${(user + system) / 1e6}`);
}

main();
