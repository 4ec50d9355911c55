-- Discard batches that have been staged for too long: their producers were killed before they were accepted.
--
-- KEYS     none
-- ARGV[1]  kept  s after it was first seen that a staged batch is kept
-- ARGV[2…] id, … of batches that are staged
-- Returns  how many were discarded
local seen_at = 'streamstop.work.staged'
local now, kept = tonumber(redis.call('TIME')[1]), tonumber(ARGV[1])
local discarded = 0
for at = 2, #ARGV do
    local id = ARGV[at]
    local seen = tonumber(redis.call('HGET', seen_at, id) or nil)
    if redis.call('LPOS', 'streamstop.batches', id) then
        redis.call('SREM', 'streamstop.staged', id)
        redis.call('HDEL', seen_at, id)
    elseif not seen or seen > now then      -- the clock may have been set back
        redis.call('HSET', seen_at, id, now)
    elseif now - seen > kept then
        redis.call('SREM', 'streamstop.staged', id)
        redis.call('HDEL', seen_at, id)
        redis.call('UNLINK', 'streamstop.batch.' .. id)
        discarded = discarded + 1
    end
end
return discarded
