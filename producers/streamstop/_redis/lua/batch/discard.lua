--! include lib/clock
--! const BATCH BATCHES STAGED STAGED_SEEN
--! args kept:int staged...
-- Discard batches that have been staged for too long: their producers were killed before they accepted them.
--
-- kept     for how many s after it was first seen a staged batch is kept
-- staged   ids of staged batches
-- Returns  how many were discarded
local discarded = 0
for _, id in ipairs(staged) do
    local first_seen = tonumber(redis.call('HGET', STAGED_SEEN, id) or nil)
    if redis.call('LPOS', BATCHES, id) then
        redis.call('SREM', STAGED, id)
        redis.call('HDEL', STAGED_SEEN, id)
    elseif not first_seen or first_seen > now_s then      -- the clock may have been set back
        redis.call('HSET', STAGED_SEEN, id, now_s)
    elseif now_s - first_seen > kept then
        redis.call('SREM', STAGED, id)
        redis.call('HDEL', STAGED_SEEN, id)
        redis.call('UNLINK', BATCH .. id)
        discarded = discarded + 1
    end
end
return discarded
