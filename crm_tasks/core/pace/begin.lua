-- Opens the account of an emptied Redis, once; or, with the account open, sets the rate of one bucket.
-- KEYS: the account, then the hashes of buckets. ARGV: 'open' or 'slow', then the factor of each.
local RECOVERY = 300000
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
if ARGV[1] == 'open' and redis.call('HSETNX', KEYS[1], 'since', now) == 0 then
  return 0
end
for index = 2, #KEYS do
  redis.call('HSET', KEYS[index], 'factor', ARGV[index], 'slowed', now)
  if redis.call('PTTL', KEYS[index]) < RECOVERY then
    redis.call('PEXPIRE', KEYS[index], RECOVERY)
  end
end
return 1
