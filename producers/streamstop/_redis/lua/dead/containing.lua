--! const DEAD
--! args fragments ids...
-- Return which dead letters contain some words. A client reads only these: to read all takes ten times as long.
--
-- fragments  words, separated by spaces: a letter's lane, room and JSON must contain each of them
-- Returns    positions in ids
local found = {}
for i, id in ipairs(ids) do
    local text = table.concat(redis.call('HVALS', DEAD .. '.' .. id), '\n')
    local fits = true
    for fragment in string.gmatch(fragments, '%S+') do fits = fits and string.find(text, fragment, 1, true) end
    if fits then found[#found + 1] = i end
end
return found
