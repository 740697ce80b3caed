-- Reserves one start in several buckets at once, or in none; with 'peek' it only looks.
--
-- KEYS: the account of all buckets, then three per bucket: its hash, and its set of members, or the sets of arrivals of
-- its two lanes (a rate without a window has neither).
-- ARGV: 'reserve' or 'peek', 'low' or 'high', how far ahead a start may be reserved, how long a process may still go on
-- alone after Redis is back, for how long this process had no Redis (0: it had), the member, how long after its moment a
-- start has surely arrived of which nothing is told, then eight per bucket:
--   'rate', step, burst and count of the open lane, the same of the lane kept for 'high' (burst 0: none), window (0: none)
--   'set', limit, window, 0, 0, 0, 0, 0
-- All times are microseconds of Redis's clock. Answers {'reserved', wait, gate, at, field, before, after, number, …},
-- {'later', wait, gate}, {'unknown'} (Redis was emptied), {'load', gate} (so was this set), {'ahead', wait}.
local RECOVERY = 300000000 -- from nothing to the whole rate, in steps of a tenth per 30 s
local MONTH = 2592000000

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local peek, class = ARGV[1] == 'peek', ARGV[2]
local ahead, lag, away, member = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local unheard = tonumber(ARGV[7])

local function text(number)
  return string.format('%.0f', number)
end

-- Since when this account is complete: what started before nobody here knows. Every bucket is empty at that moment, and
-- closed until the last start that a process may have taken without us is over.
local since = tonumber(redis.call('HGET', KEYS[1], 'since'))
if not since then
  return {'unknown'}
end
if away > 0 and since < now - away then
  since = now
  redis.call('HSET', KEYS[1], 'since', text(now))
end
redis.call('PEXPIRE', KEYS[1], MONTH)
local floor = since + lag + ahead

-- A lane is open for a start from `open` on. A start at `t` moves it one step on, from at most burst - 1 steps before t.
-- In a window it opens when all but count - 1 of those before have been there for its length: each is kept with the
-- moment by which it has surely arrived.
local function lane_of(open, arrivals, window, step, burst, count)
  local lane = {open = open, opens = open, step = step, burst = burst, count = count, arrivals = arrivals}
  if count > 0 then
    redis.call('ZREMRANGEBYSCORE', arrivals, '-inf', text(now - window))
    local last = redis.call('ZREVRANGE', arrivals, count - 1, count - 1, 'WITHSCORES')[2]
    lane.opens = math.max(open, last and last + window or 0)
  end
  return lane
end

local function rate_of(at_key, at)
  local key = KEYS[at_key]
  local kept = redis.call('HMGET', key, 'low', 'high', 'tail_low', 'tail_high', 'factor', 'slowed')
  local factor = 1
  if kept[5] then
    factor = math.min(1, kept[5] + math.floor((now - kept[6]) / (RECOVERY / 10)) / 10)
  end
  local window = math.ceil(ARGV[at + 7] / factor)
  local bucket = {key = key, factor = factor, slowed = tonumber(kept[6]), window = window, lanes = {}}
  bucket.tails = {low = tonumber(kept[3]) or 0, high = tonumber(kept[4]) or 0}
  -- What nobody here knows of may have arrived until the floor, and counts for a window more.
  local from = floor + window
  for index, lane in ipairs({'low', 'high'}) do
    local own = at + 3 * index - 2
    local step, burst, count = math.ceil(ARGV[own] / factor), tonumber(ARGV[own + 1]), tonumber(ARGV[own + 2])
    if burst > 0 then
      local open = math.max(tonumber(kept[index]) or from, from)
      bucket.lanes[lane] = lane_of(open, KEYS[at_key + index], window, step, burst, count)
    end
  end
  bucket.pick = 'low'
  bucket.step = bucket.lanes.low.step
  local own = bucket.lanes.high
  if class == 'high' and own then
    bucket.step = math.ceil(1 / (1 / bucket.step + 1 / own.step))
    if math.max(own.opens, now) <= math.max(bucket.lanes.low.opens, now) then
      bucket.pick = 'high'
    end
  end
  bucket.opens = math.max(bucket.lanes[bucket.pick].opens, now)
  return bucket
end

local function keep_rate(bucket)
  local until_ = math.max(bucket.tails.low, bucket.tails.high)
  local fields = {'tail_low', text(bucket.tails.low), 'tail_high', text(bucket.tails.high)}
  for name, lane in pairs(bucket.lanes) do
    until_ = math.max(until_, lane.open + lane.burst * lane.step, lane.kept_until or 0)
    fields[#fields + 1] = name
    fields[#fields + 1] = text(lane.open)
  end
  if bucket.factor < 1 then
    until_ = math.max(until_, bucket.slowed + RECOVERY)
  end
  redis.call('HSET', bucket.key, unpack(fields))
  redis.call('PEXPIRE', bucket.key, math.ceil((until_ - now) / 1000) + 1000)
end

local function set_of(key, members, at)
  local limit, window = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local kept = redis.call('HMGET', key, 'known', 'tail_low', 'tail_high')
  local bucket = {key = key, members = members, limit = limit, window = window, opens = now}
  bucket.tails = {low = tonumber(kept[2]) or 0, high = tonumber(kept[3]) or 0}
  bucket.known = tonumber(kept[1]) or 0
  redis.call('ZREMRANGEBYSCORE', members, '-inf', text(now - window))
  bucket.before = redis.call('ZSCORE', members, member)
  if not bucket.before then
    local count = redis.call('ZCARD', members)
    bucket.full = count >= limit
    if bucket.full then
      bucket.opens = redis.call('ZRANGE', members, count - limit, count - limit, 'WITHSCORES')[2] + window
    end
  end
  return bucket
end

local function keep_set(bucket)
  redis.call('HSET', bucket.key, 'tail_low', text(bucket.tails.low), 'tail_high', text(bucket.tails.high))
  redis.call('PEXPIRE', bucket.key, math.ceil(bucket.window / 1000) * 2)
end

-- The moment at which who comes last is next, were all before to come back.
local function tail_of(bucket)
  local tail = bucket.tails[class]
  if not bucket.members then
    return math.max(tail, bucket.opens)
  end
  if tail < bucket.opens then
    return bucket.opens
  end
  local following = redis.call(
    'ZRANGEBYSCORE', bucket.members, '(' .. text(tail - bucket.window), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return following[2] and following[2] + bucket.window or tail + math.ceil(bucket.window / bucket.limit)
end

local buckets, start, gate = {}, now, 0
for index = 1, (#KEYS - 1) / 3 do
  local at_key, at = 3 * index - 1, 8 + 8 * (index - 1)
  if ARGV[at] == 'rate' then
    buckets[index] = rate_of(at_key, at)
  else
    buckets[index] = set_of(KEYS[at_key], KEYS[at_key + 1], at)
    if buckets[index].known < floor and not peek then
      -- What was reserved before must have reached Postgres before it is read there.
      if now < floor then
        return {'later', floor - now, index}
      end
      return {'load', index}
    end
  end
  if buckets[index].opens > start then
    start, gate = buckets[index].opens, index
  end
end

if peek then
  return {'ahead', (start > now + ahead and tail_of(buckets[gate]) or start) - now}
end

-- A place in a set is never reserved ahead: the member that should leave may be used again until then.
local last = 0
for index, bucket in ipairs(buckets) do
  if (bucket.full or bucket.opens > now + ahead) and tail_of(bucket) > last then
    last, gate = tail_of(bucket), index
  end
end
if last > 0 then
  local bucket = buckets[gate]
  if bucket.members then
    bucket.tails[class] = last
    keep_set(bucket)
    return {'later', math.max(last - now, 0) + 1000, gate}
  end
  bucket.tails[class] = last + bucket.step
  keep_rate(bucket)
  -- Back a little before its turn: what comes late by a tick of the scheduler still finds its slot ahead.
  return {'later', math.max(last - ahead / 2 - now, 1000), gate}
end

local answer = {'reserved', start - now, gate, text(start)}
for _, bucket in ipairs(buckets) do
  local field, before, after, number = nil, nil, nil, ''
  if bucket.members then
    field, before = member, bucket.before or ''
    -- Later than before by at least one, so that giving an earlier reservation back does not take this one along.
    after = text(math.max(start, (tonumber(bucket.before) or 0) + 1))
    redis.call('ZADD', bucket.members, after, member)
    redis.call('PEXPIRE', bucket.members, math.ceil(bucket.window / 1000) + 2000)
    if not bucket.before then
      bucket.tails[class] = 0
    end
    keep_set(bucket)
  else
    local own = bucket.lanes.high
    if class == 'high' and own and own.opens <= start then
      bucket.pick = 'high'
    end
    local lane = bucket.lanes[bucket.pick]
    if lane.open < now - ahead then
      -- Unused for so long: those who were told to come back will not.
      bucket.tails[class] = 0
    end
    field, before = bucket.pick, text(lane.open)
    lane.open = math.max(lane.open, start - (lane.burst - 1) * lane.step) + lane.step
    after = text(lane.open)
    if lane.count > 0 then
      -- Never one that was there before, also after this hash has expired: old answers may still come.
      number = text(math.max(tonumber(redis.call('HGET', bucket.key, 'number')) or 0, now) + 1)
      redis.call('HSET', bucket.key, 'number', number)
      redis.call('ZADD', lane.arrivals, text(start + unheard), number)
      lane.kept_until = start + unheard + bucket.window
      redis.call('PEXPIRE', lane.arrivals, math.ceil((lane.kept_until - now) / 1000) + 1000)
    end
    keep_rate(bucket)
  end
  answer[#answer + 1] = field
  answer[#answer + 1] = before
  answer[#answer + 1] = after
  answer[#answer + 1] = number
end
return answer
