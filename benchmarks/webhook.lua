-- wrk: signed webhooks from a file of lines "signature<TAB>body", in turn; the result as one line of JSON.
local lines = {}
for line in io.lines(os.getenv("BENCH_WEBHOOKS")) do lines[#lines + 1] = line end
local next_one = tonumber(os.getenv("BENCH_OFFSET")) or 0

function request()
  next_one = next_one % #lines + 1
  local line = lines[next_one]
  local tab = line:find("\t", 1, true)
  local headers = { ["Content-Type"] = "application/json", ["X-Hub-Signature-256"] = line:sub(1, tab - 1) }
  return wrk.format("POST", wrk.path, headers, line:sub(tab + 1))
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"errors":%d}\n', summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
