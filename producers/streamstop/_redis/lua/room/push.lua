--! include lib/shutdown lib/announce
--! args id passed:int entries(member command lane list job_id message)...
-- Put jobs of a shutdown into their lanes. A member that has its job already is skipped.
--
-- id       of the shutdown
-- passed   how many members that have their jobs already the caller has skipped: as many more may leave the head of `todo`
-- entries  one for each job
-- Returns  1, or 0 if the shutdown was cancelled or has expired, and no job was put into a lane
local key, tasks, jobs, todo = shutdown_key(id), shutdown_key(id, 'tasks'), shutdown_key(id, 'jobs'), shutdown_key(id, 'todo')
local room, cancelled, scanned = unpack(redis.call('HMGET', key, 'room', 'cancelled', 'scanned'))
if not room or cancelled == '1' then return 0 end
-- The first write needs no memory. After it, Redis runs the rest of the script also over its memory limit.
expire_shutdown(id, SHUTDOWN_OPEN)
local joined, names, of_list, lists, of_lane = 0, {}, {}, {}, {}
for _, entry in ipairs(entries) do
    local list = entry.list
    if not of_list[list] then
        redis.call('LLEN', list)    -- a key of another type raises its error before anything is written
        of_list[list] = {}
        lists[#lists + 1] = list
    end
end
for _, entry in ipairs(entries) do
    local member, lane_name = entry.member, entry.lane
    local known = redis.call('HEXISTS', tasks, member) == 1
    -- Once the whole registry is in lanes, a task that a late fan-out finds there was registered after the room reopened.
    if (known or scanned ~= '1') and redis.call('HSETNX', jobs, member, entry.job_id) == 1 then
        if not known then
            redis.call('HSET', tasks, member, entry.command)
            joined = joined + 1
        end
        local messages = of_list[entry.list]
        messages[#messages + 1] = entry.message
        if not of_lane[lane_name] then names[#names + 1] = lane_name end
        of_lane[lane_name] = (of_lane[lane_name] or 0) + 1
    end
end
for _, list in ipairs(lists) do
    if #of_list[list] > 0 then redis.call('LPUSH', list, unpack(of_list[list])) end
end
for lane_name, count in pairs(of_lane) do
    redis.call('HINCRBY', shutdown_key(id, 'lanes'), lane_name .. ':total', count)
end
if joined > 0 then
    redis.call('HINCRBY', key, 'total', joined)
end
if #names > 0 then
    announce(unpack(names))
    expire_shutdown(id, SHUTDOWN_OPEN)      -- for keys that this run has created
end
-- Members leave `todo` only from its head, for a search takes time in proportion to its length. A member with a job that is
-- farther back leaves when it comes to the head.
for _ = 1, passed + #entries do
    local member = redis.call('LINDEX', todo, 0)
    if not member then break end
    if redis.call('HEXISTS', jobs, member) == 0 and redis.call('HEXISTS', tasks, member) == 1 then break end
    redis.call('LPOP', todo)
end
return 1
