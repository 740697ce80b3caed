-- Undoes a reservation wherever nobody has built upon it since; elsewhere it stays taken, which breaks no limit.
-- KEYS: per bucket, its hash or its set of members. ARGV: per bucket 'rate' or 'set', field, before, after.
local given = 0
for index, key in ipairs(KEYS) do
  local at = 4 * index - 3
  local kind, field, before, after = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
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
