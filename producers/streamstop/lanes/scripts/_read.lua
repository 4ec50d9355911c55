-- Reading what producers wrote: names of lanes, and messages as far as their envelopes go. It stands before each script
-- that a worker runs.

local MOST_BYTES = 100000           -- of messages that one run reads; one that is not ASCII takes longer
local NOT_ASCII = 8

local read = 0                      -- bytes so far

-- Whether a text is UTF-8, as JSON has to be; what cjson does not ask.
local function is_utf8(text)
    local tail = '[\128-\191]'
    for _, sequence in ipairs({'[\194-\223]' .. tail, '\224[\160-\191]' .. tail, '\237[\128-\159]' .. tail,
            '[\225-\236\238\239]' .. tail .. tail, '\240[\144-\191]' .. tail .. tail,
            '[\241-\243]' .. tail .. tail .. tail, '\244[\128-\143]' .. tail .. tail}) do
        text = string.gsub(text, sequence, ' ')
    end
    return not string.find(text, '[\128-\255]')
end

-- Whether a name that a producer wrote can be a lane's: what a worker can neither read nor forget is none.
local function is_lane(name)
    return #name <= LONGEST_ID and string.find(name, '.', 1, true) ~= nil
        and (not string.find(name, '[^ -~]') or is_utf8(name))
end

-- Return the id of a message that a worker can read as far as its envelope goes.
local function id_of(message)
    if #message > LONGEST_MESSAGE then return end
    read = read + #message
    if string.find(message, '[^ -~]') then      -- most have printable ASCII alone, which one look tells
        read = read + #message * NOT_ASCII
        if not is_utf8(message) then return end
        if string.find(message, '[%z\1-\8\11\12\14-\31]') then return end   -- cjson takes them, and Python does not
    end
    local headers = decode(message).headers
    if type(headers) ~= 'table' then return end
    local id = headers.id
    if headers.task == 'streamstop.execute' and type(id) == 'string' and #id > 0 and #id <= LONGEST_ID
            -- nor may it read as what the hash of jobs keeps of another
            and not string.find(id, ':owner$') and not string.find(id, ':tries$') then
        return id
    end
end

-- Note in the schedule the lanes that producers have put jobs into. Returns how many.
local function schedule_arrivals()
    local arrived = redis.call('SPOP', ARRIVALS, MOST_ARRIVALS)
    written = true
    local names = {}
    for _, name in ipairs(arrived) do
        if is_lane(name) then names[#names + 1] = name end
    end
    expect(names, now - AHEAD)
    if #arrived == MOST_ARRIVALS then wake() end
    return #names
end
