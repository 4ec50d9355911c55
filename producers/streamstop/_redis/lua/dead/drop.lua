--! const DEAD
--! args id
-- Delete a dead letter.
--
-- id       of the dead letter
-- Returns  1, or 0 if there is no such dead letter
redis.call('DEL', DEAD .. '.' .. id)
return redis.call('ZREM', DEAD, id)
