-- Forget a dead letter.
--
-- KEYS[1]  dead    zset of the letters
-- KEYS[2]  letter  hash
-- ARGV[1]  id
-- Returns  1, or 0 where there is no such letter
redis.call('DEL', KEYS[2])
return redis.call('ZREM', KEYS[1], ARGV[1])
