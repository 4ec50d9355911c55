--! include lib/lane_keys lib/writing lib/announce lib/schedule_lanes
--! const SCHEDULE MOST_FOUND
--! args operations accounts...
-- Find lanes that hold jobs which no producer has announced, and add them to the schedule.
--
-- operations  separated by spaces
-- accounts    each pair of an account and an operation names a lane that may exist
-- Returns     how many lanes were found
local MOST_KEYS = 4000      -- of one command; Lua's limit is near 8,000
local MOST_SCHEDULED = 1000
local found, keys, names = 0, {}, {}
local now                           -- Redis' time in µs, read only if a lane holds jobs: most lanes are empty
local scheduled                     -- lanes that workers look at soon anyway; at most MOST_SCHEDULED of them

-- Schedule the lanes from `first` to `last` that hold jobs. A bisection: most ranges are empty.
local function search(first, last)
    if found >= MOST_FOUND then return end
    if redis.call('EXISTS', unpack(keys, first * 4 - 3, last * 4)) == 0 then return end
    if first < last then
        local middle = math.floor((first + last) / 2)
        search(first, middle)
        search(middle + 1, last)
    else
        begin_writing()
        schedule_lanes({names[first]}, now, now + SOON)
        found = found + 1
    end
end

-- Search the lanes that have been collected in `names`.
local function search_names()
    if #keys > 0 and redis.call('EXISTS', unpack(keys)) > 0 then
        if found >= MOST_FOUND then return end
        if not scheduled then
            scheduled = {}
            local time = redis.call('TIME')
            now = time[1] * 1000000 + time[2]
            local latest = string.format('%.0f', now + 1000000)
            local soon = redis.call('ZRANGEBYSCORE', SCHEDULE, '-inf', latest, 'LIMIT', 0, MOST_SCHEDULED)
            for _, name in ipairs(soon) do scheduled[name] = true end
        end
        local other_names, other_keys = {}, {}
        for i, name in ipairs(names) do
            if not scheduled[name] then
                other_names[#other_names + 1] = name
                for at = i * 4 - 3, i * 4 do other_keys[#other_keys + 1] = keys[at] end
            end
        end
        names, keys = other_names, other_keys
        if #names > 0 then search(1, #names) end
    end
    keys, names = {}, {}
end

for _, account in ipairs(accounts) do
    for operation in string.gmatch(operations, '%S+') do
        local name, last = account .. '.' .. operation, #keys
        names[#names + 1] = name
        keys[last + 1], keys[last + 2], keys[last + 3], keys[last + 4] = waiting_of(name)
        if #keys >= MOST_KEYS then
            search_names()
        end
    end
end
search_names()
if found > 0 then wake() end
return found
