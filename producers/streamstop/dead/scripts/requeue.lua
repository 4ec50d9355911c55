-- Put the command of a dead letter into its lane again: once, for the letter goes in the same step.
--
-- KEYS[1]  dead      zset of the letters
-- KEYS[2]  letter    hash
-- KEYS[3]  list      of the lane, where the job waits
-- ARGV[1]  id        of the letter
-- ARGV[2]  lane
-- ARGV[3]  job id    of the new job
-- ARGV[4]  message   of it
-- ARGV[5]  shutdown  that the task belongs to; '': none
-- ARGV[6]  member
-- ARGV[7]  message   of it as that member's, for a shutdown that is still known, and was not cancelled
-- Returns  1, or 0 where there is no such letter
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local id, message = ARGV[5], ARGV[4]
if id ~= '' then
    local now_s = tonumber(redis.call('TIME')[1])
    if unsettle(id, ARGV[6], ARGV[1], ARGV[3], now_s) then message = ARGV[7] end
end
redis.call('LPUSH', KEYS[3], message)
announce(ARGV[2])
redis.call('ZREM', KEYS[1], ARGV[1])    -- last, for Redis takes nothing back where a command fails
redis.call('DEL', KEYS[2])
return 1
