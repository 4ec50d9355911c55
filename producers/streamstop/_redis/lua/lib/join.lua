--! include lib/shutdown
--! const RESULT WORK
-- Stream tasks become members of a shutdown.

-- Whether the vendor may have been called for a member: its stop ends nothing that is started from now on.
local function is_called(id, member)
    if redis.call('HEXISTS', shutdown_key(id, 'outcomes'), member) == 1 then return true end
    local job_id = redis.call('HGET', shutdown_key(id, 'jobs'), member)
    if not job_id then return false end
    -- A producer's user need not be one that may look there; then it may have been called.
    local held = redis.pcall('HMGET', WORK .. lane_of(job_id) .. ':jobs', job_id .. ':owner', job_id .. ':tries')
    return held.err or held[1] or held[2] or redis.call('EXISTS', RESULT .. job_id) == 1
end

-- Make entries (task, command) members of a shutdown. Returns how many joined.
-- `started`: they have just been started, so that one whose stop was called already is to be stopped again.
local function join(id, entries, started)
    local key, tasks, todo = shutdown_key(id), shutdown_key(id, 'tasks'), shutdown_key(id, 'todo')
    local again = shutdown_key(id, 'again')
    local joined = 0
    for _, entry in ipairs(entries) do
        local task = entry.task
        local member = redis.call('HGET', again, task) or task
        if started and is_called(id, member) then
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
        redis.call('HSET', key, 'status', 'open')
        expire_shutdown(id, SHUTDOWN_OPEN)
        tell(id)
    end
    return joined
end
