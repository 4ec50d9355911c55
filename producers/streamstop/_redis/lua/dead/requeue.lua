--! include lib/clock lib/shutdown lib/announce
--! const DEAD
--! args letter_id lane list job_id message shutdown member member_message
-- Put the command of a dead letter into its lane again: once, for the letter goes in the same step.
--
-- letter_id
-- lane
-- list            of the lane, where the job waits
-- job_id          of the new job
-- message         of it
-- shutdown        that the task belongs to; '': none
-- member
-- member_message  of the job as that member's, for a shutdown that is still known, and was not cancelled
-- Returns         1, or 0 where there is no such letter

-- Take the member's outcome back, for its dead letter is requeued as `job_id`: the shutdown is open until that has ended.
-- The room is closing with it only if it had not been free to be used again: what runs there now is another's.
-- Returns whether the shutdown takes it: it is known, was not cancelled, and the letter is what it has of the member.
local function unsettle()
    local key, outcomes, of_jobs = shutdown_key(shutdown), shutdown_key(shutdown, 'outcomes'), shutdown_key(shutdown, 'jobs')
    local held = redis.call('HMGET', key, 'room', 'cancelled', 'status')
    local text = redis.call('HGET', outcomes, member)
    if not held[1] or held[2] == '1' or not text then return false end
    local outcome = cjson.decode(text)
    if outcome.job_id ~= letter_id then return false end
    redis.call('HDEL', outcomes, member)
    redis.call('HINCRBY', key, 'ended', -1)
    redis.call('HINCRBY', key, 'attention', -1)
    local result = 'n:' .. outcome.result
    if redis.call('HINCRBY', key, result, -1) == 0 then redis.call('HDEL', key, result) end
    local lane_name = lane_of(redis.call('HGET', of_jobs, member) or job_id)
    redis.call('HINCRBY', shutdown_key(shutdown, 'lanes'), lane_name .. ':ended', -1)
    redis.call('HSET', of_jobs, member, job_id)
    if held[3] ~= 'open' then
        local state = redis.call('HMGET', room_key(held[1], 'state'), 'shutdown', 'closed_until')
        if state[1] ~= shutdown or (tonumber(state[2]) or 0) <= now_s then redis.call('HSET', key, 'room_open', 1) end
        redis.call('HSET', key, 'status', 'open')
    end
    expire_shutdown(shutdown, SHUTDOWN_OPEN)
    tell(shutdown)
    return true
end

if not redis.call('ZSCORE', DEAD, letter_id) then return 0 end
if shutdown ~= '' and unsettle() then message = member_message end
redis.call('LPUSH', list, message)
announce(lane)
redis.call('ZREM', DEAD, letter_id)    -- last, for Redis takes nothing back where a command fails
redis.call('DEL', DEAD .. '.' .. letter_id)
return 1
