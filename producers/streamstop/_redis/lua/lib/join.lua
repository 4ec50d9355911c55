--! include lib/shutdown
--! const RESULT WORK
-- Makes stream tasks members of a shutdown.

-- Return whether the vendor may have been called for a member. That call does not stop a task that starts from now on.
local function may_be_called(id, member)
    if redis.call('HEXISTS', shutdown_key(id, 'outcomes'), member) == 1 then return true end
    local job_id = redis.call('HGET', shutdown_key(id, 'jobs'), member)
    if not job_id then return false end
    -- Redis may forbid a producer's user to read this key. Then the vendor may have been called.
    local owner_and_history = redis.pcall('HMGET', WORK .. lane_of(job_id) .. ':jobs', job_id .. ':owner', job_id .. ':tries')
    return owner_and_history.err or owner_and_history[1] or owner_and_history[2]
        or redis.call('EXISTS', RESULT .. job_id) == 1
end

-- Make entries (task, command) members of a shutdown. Return how many joined.
-- `started`: the tasks have just started, so a task whose stop was called already is stopped once more.
local function join(id, entries, started)
    local key, tasks, todo = shutdown_key(id), shutdown_key(id, 'tasks'), shutdown_key(id, 'todo')
    local again = shutdown_key(id, 'again')
    local joined = 0
    for _, entry in ipairs(entries) do
        local task = entry.task
        local member = redis.call('HGET', again, task) or task
        if started and may_be_called(id, member) then
            member = task .. '\n' .. redis.call('HINCRBY', key, 'reopened', 1)
            redis.call('HSET', again, task, member)
        end
        if redis.call('HSETNX', tasks, member, entry.command) == 1 then
            redis.call('RPUSH', todo, member)
            joined = joined + 1
        end
    end
    if joined > 0 then
        redis.call('HINCRBY', key, 'total', joined)
        write_status(id, 'open')
        expire_shutdown(id, SHUTDOWN_OPEN)
        publish_change(id)
    end
    return joined
end
