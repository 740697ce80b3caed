-- Undoes a reservation wherever nobody has built upon it since; elsewhere it stays taken, which breaks no limit. A window
-- forgets it in any case.
-- KEYS: two per bucket, its hash or its set of members, and the set of arrivals (or the hash again).
-- ARGV: per bucket 'rate' or 'set', field, before, after, number ('': it is no window).
local given = 0
for index = 1, #KEYS / 2 do
  local key, at = KEYS[2 * index - 1], 5 * index - 4
  local kind, field, before, after, number = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3]), ARGV[at + 4]
  if number ~= '' then
    redis.call('ZREM', KEYS[2 * index], number)
  end
  if kind == 'rate' then
    if tonumber(redis.call('HGET', key, field)) == after then
      redis.call('HSET', key, field, before)
      given = given + 1
    end
  elseif tonumber(redis.call('ZSCORE', key, field) or 0) == after then
    if before == '' then
      redis.call('ZREM', key, field)
    else
      redis.call('ZADD', key, before, field)
    end
    given = given + 1
  end
end
return given
