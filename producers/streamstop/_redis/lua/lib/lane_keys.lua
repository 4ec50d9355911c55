--! const LANE WORK PRIORITY_SEPARATOR
-- The keys of lanes. A script may work on many lanes, so it makes the names of their keys itself:
--
-- streamstop.lane.<lane>              list   messages that wait with priority 0; with \6\22<n> after it, with 3, 6, 9.
--                                            LPUSH at the back, RPOP at the front. What a worker put back stands behind
--                                            its history: \1<history>\n<message>
-- streamstop.work.<lane>:leases       zset   job id -> moment at which a job in flight must have reported
-- streamstop.work.<lane>:jobs         hash   <id> -> message;  <id>:owner -> who took it;  <id>:tries -> its history.
--                                            Of jobs in flight, and (without an owner) of those that are due later
-- streamstop.work.<lane>:due          zset   job id -> moment at which a job that is to be tried again waits again
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
