--! include lib/conclude lib/shutdown
-- Records how a stream task of a shutdown ended, once.

-- Record and count a member's outcome, unless it is recorded already. It counts in the lane of the member's stop, also where
-- the job that verified the stop ended in another lane. A member_result has the fields shutdown, member, result, outcome
-- (JSON), ok (the stream task is over) and attention (a person should look at it).
local function record_member_result(member_result, lane_name)
    local id, member = member_result.shutdown, member_result.member
    local key = shutdown_key(id)
    local room = redis.call('HGET', key, 'room')
    if not room then return end         -- the shutdown has expired: a key written now would never expire
    -- Reads come first: a key of another type raises its error before anything is changed.
    local job_id = redis.call('HGET', shutdown_key(id, 'jobs'), member)
    redis.call('HLEN', shutdown_key(id, 'lanes'))
    local task = string.match(member, '^[^\n]*')
    local is_latest = member_result.ok and (redis.call('HGET', shutdown_key(id, 'again'), task) or task) == member
    if is_latest then redis.call('HLEN', room_key(room, 'tasks')) end
    if redis.call('HSETNX', shutdown_key(id, 'outcomes'), member, member_result.outcome) == 0 then return end
    if redis.call('HINCRBY', key, 'ended', 1) == 1 then
        expire_shutdown(id, SHUTDOWN_OPEN)
    end
    redis.call('HINCRBY', key, 'n:' .. member_result.result, 1)
    lane_name = job_id and lane_of(job_id) or lane_name
    redis.call('HINCRBY', shutdown_key(id, 'lanes'), lane_name .. ':ended', 1)
    if not job_id then redis.call('HINCRBY', shutdown_key(id, 'lanes'), lane_name .. ':total', 1) end
    if member_result.attention then redis.call('HINCRBY', key, 'attention', 1) end
    if is_latest then redis.call('HDEL', room_key(room, 'tasks'), task) end
    conclude(id)
    publish_change(id)
end
