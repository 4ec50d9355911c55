--! const DEAD
--! args id
-- Forget a dead letter.
--
-- id       of the letter
-- Returns  1, or 0 where there is no such letter
redis.call('DEL', DEAD .. '.' .. id)
return redis.call('ZREM', DEAD, id)
