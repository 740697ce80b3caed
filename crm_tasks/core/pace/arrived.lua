-- Writes down by when starts have surely arrived, if that is sooner than what is known.
-- KEYS: the sets of arrivals. ARGV: per key the start's number, and how long ago that was, in microseconds.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for index, key in ipairs(KEYS) do
  redis.call('ZADD', key, 'XX', 'LT', string.format('%.0f', now - ARGV[2 * index]), ARGV[2 * index - 1])
end
