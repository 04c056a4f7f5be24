-- KEYS: the gateways, then one counter each. ARGV: this gateway, then of each counter
-- kind, three numbers of the kind, seconds to keep, used, give, want.
-- Answers the number of gateways, then of each counter what is given and what is left.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 5000000)
local answer = { redis.call('ZCARD', KEYS[1]) }

-- A token bucket: count in each per microseconds, at most burst.
local function rate(key, count, per, burst, keep, give, want)
  local kept = redis.call('HMGET', key, 'level', 'at')
  local level, at = tonumber(kept[1]) or burst, tonumber(kept[2]) or now
  if now > at then
    level = math.min(burst, level + (now - at) * count / per)
    at = now
  end
  level = math.min(burst, level + give)
  local given = math.max(0, math.min(want, math.floor(level)))
  level = level - given
  redis.call('HSET', key, 'level', string.format('%.9f', level), 'at', string.format('%.0f', at))
  redis.call('EXPIRE', key, keep + math.ceil(math.max(0, -level) * per / count / 1000000) + 1)
  return given, math.floor(level)
end

-- So much in the slices that count, by slice.
local function quota(key, slice, counted, most, keep, known, give, want)
  local slices = redis.call('HGETALL', key)
  if #slices == 0 and known > 0 then
    -- The store lost it, or never knew.
    redis.call('HSET', key, slice, known)
    slices = { slice, known }
  end
  local used = 0
  for at = 1, #slices, 2 do
    if tonumber(slices[at]) <= slice - counted then
      redis.call('HDEL', key, slices[at])
    else
      used = used + tonumber(slices[at + 1])
    end
  end
  used = used - give
  local given = math.max(0, math.min(want, most - used))
  if given ~= give then
    redis.call('HINCRBY', key, slice, given - give)
  end
  redis.call('EXPIRE', key, keep)
  return given, most - used - given
end

for index = 2, #KEYS do
  local first = 2 + (index - 2) * 8
  local number = {}
  for at = 1, 7 do
    number[at] = tonumber(ARGV[first + at])
  end
  local given, left
  if ARGV[first] == 'rate' then
    given, left = rate(KEYS[index], number[1], number[2], number[3], number[4], number[6], number[7])
  else
    given, left = quota(KEYS[index], number[1], number[2], number[3], number[4], number[5], number[6], number[7])
  end
  table.insert(answer, given)
  table.insert(answer, left)
end
return answer
