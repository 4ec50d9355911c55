--! include lib/conclude lib/shutdown
-- Settling: a stream task of a shutdown has ended, and is counted once.

-- Count a member's outcome, once, in the lane of its stop: what verified it ended in another. A settlement has the fields
-- shutdown, member, result, outcome (JSON), ok (the stream task is over) and attention (a person should look at it).
local function settle(settlement, lane_name)
    local id, member = settlement.shutdown, settlement.member
    local key = shutdown_key(id)
    local room = redis.call('HGET', key, 'room')
    if not room then return end         -- the shutdown is forgotten: nothing of it may come back without an end
    if redis.call('HSETNX', shutdown_key(id, 'outcomes'), member, settlement.outcome) == 0 then return end
    if redis.call('HINCRBY', key, 'ended', 1) == 1 then
        expire_shutdown(id, SHUTDOWN_OPEN)
    end
    redis.call('HINCRBY', key, 'n:' .. settlement.result, 1)
    local job_id = redis.call('HGET', shutdown_key(id, 'jobs'), member)
    lane_name = job_id and lane_of(job_id) or lane_name
    redis.call('HINCRBY', shutdown_key(id, 'lanes'), lane_name .. ':ended', 1)
    if not job_id then redis.call('HINCRBY', shutdown_key(id, 'lanes'), lane_name .. ':total', 1) end
    if settlement.attention then redis.call('HINCRBY', key, 'attention', 1) end
    if settlement.ok then
        local task = string.match(member, '^[^\n]*')
        if (redis.call('HGET', shutdown_key(id, 'again'), task) or task) == member then
            redis.call('HDEL', room_key(room, 'tasks'), task)
        end
    end
    conclude(id)
    tell(id)
end
