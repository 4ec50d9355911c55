--! include lib/announce lib/jobs lib/record lib/member_result
--! const RESULT CANCELLED
-- Cancels a job that no worker has taken.

local CANCELLED_COUNTED = 2592000   -- s after the last cancelled job

-- Cancel a job. Its message may still wait in the lane; it is dropped when it comes up. `member_result` is the member's
-- result if the job is of a shutdown (see lib/member_result), else nil. Return 'cancelled', 'claimed' or 'ended', and the
-- record of a job that has ended.
local function cancel_job(lane, id, record, ttl, member_result)
    local known = redis.call('MGET', RESULT .. id)[1]
    if has_ended(known) then return 'ended', known end
    if redis.call('HEXISTS', lane.jobs, id .. ':owner') == 1 then return 'claimed' end
    write_record(id, record, ttl)
    if redis.call('ZREM', lane.due_key, id) == 1 then
        local message = redis.call('HGET', lane.jobs, id)
        redis.call('HDEL', lane.jobs, id, id .. ':tries')
        -- A shutdown's job that is cancelled by its id is counted when a worker takes its message. So it waits again.
        if message and not member_result and string.find(message, '\\"shutdown\\"', 1, true) then
            push_to_front(lane, message, '')
            announce(lane.name)
        end
    end
    if member_result then record_member_result(member_result, lane.name) end
    return 'cancelled'
end

-- Count jobs of a lane that were cancelled before a worker took them. A key of another type must not make this fail.
local function count_cancelled(lane, jobs)
    if jobs == 0 then return end
    redis.pcall('HINCRBY', CANCELLED, lane.name, jobs)
    redis.call('EXPIRE', CANCELLED, CANCELLED_COUNTED)
end
