--! include lib/shutdown lib/announce
--! args id passed:int entries(member command lane list job_id message)...
-- Put jobs of a shutdown into their lanes; one that is there already is passed over.
--
-- id       of the shutdown
-- passed   how many members at the head of the list of what is to be done may be taken off it, beside the entries'
-- entries  one for each job
-- Returns  1, or 0 where the shutdown was cancelled or is forgotten: nothing was put anywhere
local key, tasks, jobs, todo = shutdown_key(id), shutdown_key(id, 'tasks'), shutdown_key(id, 'jobs'), shutdown_key(id, 'todo')
local held = redis.call('HMGET', key, 'room', 'cancelled', 'scanned')
if not held[1] or held[2] == '1' then return 0 end
-- First what takes no memory: then Redis takes the rest of the script also where its memory is full.
expire_shutdown(id, SHUTDOWN_OPEN)
local joined, names, of_list, lists, of_lane = 0, {}, {}, {}, {}
for _, entry in ipairs(entries) do
    local list = entry.list
    if not of_list[list] then
        redis.call('LLEN', list)    -- an error where it is no list, while nothing is noted yet
        of_list[list] = {}
        lists[#lists + 1] = list
    end
end
for _, entry in ipairs(entries) do
    local member, lane_name = entry.member, entry.lane
    local known = redis.call('HEXISTS', tasks, member) == 1
    -- Once the registry was put into lanes whole, what a late fan-out finds in it is the room's after its reopening.
    if (known or held[3] ~= '1') and redis.call('HSETNX', jobs, member, entry.job_id) == 1 then
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
    expire_shutdown(id, SHUTDOWN_OPEN)      -- of the keys that the first jobs have begun
end
-- From the head alone, for to look for each member would take time by the length of the list. One that has its job and
-- stands further back goes when it comes to the head.
for _ = 1, passed + #entries do
    local member = redis.call('LINDEX', todo, 0)
    if not member then break end
    if redis.call('HEXISTS', jobs, member) == 0 and redis.call('HEXISTS', tasks, member) == 1 then break end
    redis.call('LPOP', todo)
end
return 1
