-- Checks that bytes which a producer wrote are text.

local LONGEST_ID = 512              -- bytes

-- Return whether a text is UTF-8. JSON must be, and cjson does not check it.
local function is_utf8(text)
    local tail = '[\128-\191]'
    for _, sequence in ipairs({'[\194-\223]' .. tail, '\224[\160-\191]' .. tail, '\237[\128-\159]' .. tail,
            '[\225-\236\238\239]' .. tail .. tail, '\240[\144-\191]' .. tail .. tail,
            '[\241-\243]' .. tail .. tail .. tail, '\244[\128-\143]' .. tail .. tail}) do
        text = string.gsub(text, sequence, ' ')
    end
    return not string.find(text, '[\128-\255]')
end
