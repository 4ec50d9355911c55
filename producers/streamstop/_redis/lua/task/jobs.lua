--! include lib/lane_keys
--! args key fragment lanes...
-- Return the jobs of one stream task that workers have taken: its notes, and the jobs that have not ended.
--
-- key       of the task's notes; '': read no notes
-- fragment  a part of the task's id; messages without it are left out
-- lanes     where jobs in flight, and jobs that were returned, are looked for
-- Returns   {notes (see lib/task_note), {lane, id, message, history, 1: a worker has it}, …}. The caller checks which task
--           each message names

local MOST_OPEN = 1000      -- jobs in flight that are looked at in each lane; the most limits allow fewer
local MOST_RETURNED = 50    -- returned jobs that are looked at in each list
local MOST_FOUND = 100

local found = {}

-- Add a job if its message may name the task. A body in base64 may name any.
local function add(lane, id, message, history, in_flight)
    if #found >= MOST_FOUND then return end
    if string.find(message, fragment, 1, true) or string.find(message, '"base64"', 1, true) then
        found[#found + 1] = {lane.name, id, message, history, in_flight}
    end
end

local function add_in_flight(lane)
    local ids = redis.call('ZRANGE', lane.leases, 0, MOST_OPEN - 1)
    for first = 1, #ids, 50 do
        local fields = {}
        for at = first, math.min(first + 49, #ids) do
            fields[#fields + 1] = ids[at]
            fields[#fields + 1] = ids[at] .. ':tries'
        end
        local values = redis.call('HMGET', lane.jobs, unpack(fields))
        for at = 1, #fields, 2 do
            if values[at] then add(lane, fields[at], values[at], values[at + 1] or '', 1) end
        end
    end
end

-- Add the jobs that were returned to the lane, as after their worker was lost. They are at the front, with their history.
local function add_returned(lane)
    for _, list in ipairs(lane.waiting) do
        for at = 1, MOST_RETURNED do
            local entry = redis.call('LINDEX', list, -at)
            local history, message = string.match(entry or '', '^\1([%d ]*)\n(.*)$')
            if not history then break end
            add(lane, '', message, history, 0)
        end
    end
end

for _, name in ipairs(lanes) do
    local lane = keys_of(name)
    add_in_flight(lane)
    add_returned(lane)
end
local notes = key ~= '' and redis.pcall('GET', key)
return {type(notes) == 'string' and notes or '', found}      -- none in a key of another type
