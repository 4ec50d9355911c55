--! include lib/clock lib/lane_keys lib/writing lib/announce lib/expect
--! const SCHEDULE MOST_FOUND
--! args operations accounts...
-- Find lanes that hold jobs which nobody has announced, and note them in the schedule.
--
-- operations  with spaces between them
-- accounts    every pair of an account and an operation is a lane that could exist
-- Returns     how many lanes hold jobs
local MOST_KEYS = 4000      -- of one command; Lua can pass some 8,000
local MOST_SCHEDULED = 1000
local found, keys, names = 0, {}, {}

-- Note those of the lanes from `first` to `last` that hold jobs.
local function halve(first, last)
    if found >= MOST_FOUND then return end
    if redis.call('EXISTS', unpack(keys, first * 4 - 3, last * 4)) == 0 then return end
    if first < last then
        local middle = math.floor((first + last) / 2)
        halve(first, middle)
        halve(middle + 1, last)
    else
        begin_writing()
        expect({names[first]}, now)
        found = found + 1
    end
end

local scheduled                     -- lanes that workers soon look at anyway; of very many, not all

local function look()
    if #keys > 0 and redis.call('EXISTS', unpack(keys)) > 0 then
        if found >= MOST_FOUND then return end
        if not scheduled then
            scheduled = {}
            local soon = redis.call('ZRANGEBYSCORE', SCHEDULE, '-inf', integer(now + SECOND), 'LIMIT', 0, MOST_SCHEDULED)
            for _, name in ipairs(soon) do scheduled[name] = true end
        end
        local others, of_others = {}, {}
        for i, name in ipairs(names) do
            if not scheduled[name] then
                others[#others + 1] = name
                for at = i * 4 - 3, i * 4 do of_others[#of_others + 1] = keys[at] end
            end
        end
        names, keys = others, of_others
        if #names > 0 then halve(1, #names) end
    end
    keys, names = {}, {}
end

for _, account in ipairs(accounts) do
    for operation in string.gmatch(operations, '%S+') do
        local name, last = account .. '.' .. operation, #keys
        names[#names + 1] = name
        keys[last + 1], keys[last + 2], keys[last + 3], keys[last + 4] = waiting_of(name)
        if #keys >= MOST_KEYS then
            look()
        end
    end
end
look()
if found > 0 then wake() end
return found
