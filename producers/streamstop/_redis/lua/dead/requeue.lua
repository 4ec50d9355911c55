--! include lib/clock lib/shutdown lib/announce lib/dead lib/back
--! const DEAD
--! args letter_id lane list job_id message shutdown member member_message
-- Put the command of a dead letter into its lane again. The same step deletes the letter, so this happens once.
--
-- letter_id
-- lane
-- list            the lane's list for the job's priority
-- job_id          of the new job
-- message         of the new job
-- shutdown        id of the stream task's shutdown; '': none
-- member
-- member_message  the new job's message as a member's job: for a shutdown that has not expired and was not cancelled
-- Returns         1, or 0 if there is no such letter

-- Results that need no attention. A dead letter has one of them if counting its member failed in Redis.
local WELL = {stopped = true, already_stopped = true, verified = true, unverifiable = true, cancelled = true}

-- Delete the member's outcome: its dead letter is requeued as `job_id`, and the shutdown is open until that job has ended.
-- The room closes again only if it was not usable again already: then other tasks run there now.
-- Return whether the member is open in the shutdown again. It is not if the shutdown has expired or was cancelled, or if
-- the member's outcome is that of another job.
local function reopen_member()
    local key, outcomes, of_jobs = shutdown_key(shutdown), shutdown_key(shutdown, 'outcomes'), shutdown_key(shutdown, 'jobs')
    local values = redis.call('HMGET', key, 'room', 'cancelled', 'status')
    local text = redis.call('HGET', outcomes, member)
    if not values[1] or values[2] == '1' then return false end
    if not text then    -- counting the member failed in Redis, and its shutdown still waits for it
        if redis.call('HEXISTS', shutdown_key(shutdown, 'tasks'), member) == 0 then return false end
        redis.call('HSET', of_jobs, member, job_id)
        return true
    end
    local outcome = cjson.decode(text)
    if outcome.job_id ~= letter_id then return false end
    redis.call('HDEL', outcomes, member)
    redis.call('HINCRBY', key, 'ended', -1)
    if not WELL[outcome.result] then redis.call('HINCRBY', key, 'attention', -1) end
    local result = 'n:' .. outcome.result
    if redis.call('HINCRBY', key, result, -1) == 0 then redis.call('HDEL', key, result) end
    local lane_name = lane_of(redis.call('HGET', of_jobs, member) or job_id)
    redis.call('HINCRBY', shutdown_key(shutdown, 'lanes'), lane_name .. ':ended', -1)
    redis.call('HSET', of_jobs, member, job_id)
    if values[3] ~= 'open' then
        local state = redis.call('HMGET', room_key(values[1], 'state'), 'shutdown', 'closed_until')
        if state[1] ~= shutdown or (tonumber(state[2]) or 0) <= now_s then redis.call('HSET', key, 'room_open', 1) end
        write_status(shutdown, 'open')
    end
    expire_shutdown(shutdown, SHUTDOWN_OPEN)
    publish_change(shutdown)
    return true
end

if not redis.call('ZSCORE', DEAD, letter_id) then return 0 end
if shutdown ~= '' and reopen_member() then message = member_message end
push_to_back(list, message)
announce(lane)
remove_letter(letter_id)    -- last, for Redis undoes nothing if a command fails
return 1
