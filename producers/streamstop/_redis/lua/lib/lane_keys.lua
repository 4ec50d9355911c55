--! const LANE WORK PRIORITY_SEPARATOR
-- The keys of lanes. A script may work on many lanes, so it builds the names of their keys itself:
--
-- streamstop.lane.<lane>              list   messages that wait with priority 0. With \6\22<n> appended: priority 3, 6, 9.
--                                            LPUSH at the back, RPOP at the front. A job that a worker returned has its
--                                            history before the message: \1<history>\n<message>
-- streamstop.work.<lane>:leases       zset   id of a job in flight -> end of its lease
-- streamstop.work.<lane>:jobs         hash   <id> -> message;  <id>:owner -> the run that took it;  <id>:tries -> history.
--                                            For jobs in flight, and (without an owner) for deferred jobs
-- streamstop.work.<lane>:due          zset   id of a deferred job -> moment at which it waits again
-- streamstop.work.<lane>:pace         hash   see lib/lane

-- Return the lists in which jobs of the lane wait, first to last.
local function waiting_of(name)
    local queue = LANE .. name
    local others = queue .. PRIORITY_SEPARATOR
    return queue, others .. '3', others .. '6', others .. '9'
end

local function keys_of(name)
    local work = WORK .. name
    return {
        name = name, waiting = {waiting_of(name)},
        leases = work .. ':leases', jobs = work .. ':jobs', due_key = work .. ':due', pace_key = work .. ':pace',
    }
end
