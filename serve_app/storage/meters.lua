-- The owner of all meters, in Redis. One call is one atomic step, under the server's own clock.
--
-- The same rules as serve_app/admission/meters.py: free = capacity - spent - what living holders hold.
-- KEYS[1] is the prefix of every key; its braces keep all of them in one slot.
--   PREFIX:meter:KEY   hash: s spent, t when it was refilled (ms), c carry, p period, u scarce until (ms)
--   PREFIX:held:KEY    hash: holder -> GENERATION:AMOUNT
--   PREFIX:lease:NAME  a living holder's generation; expires with its lease
--   PREFIX:loaded      there once the spending of the running periods was preset; the one key that does not expire
-- A holder whose lease ended comes back under another generation, so what it held then stays free.
-- Numbers are doubles: whole up to 2^53. They are written with %.0f, as tostring would write 1e+15.

local DAY_MS = 86400000
local HELD_KEPT_MS = 3600000
local PREFIX, OPERATION = KEYS[1], ARGV[1]

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function text(number)
  return string.format('%.0f', number)
end

-- Days since 1970 to a month's number (year * 12 + month - 1), and the day on which a month begins: Howard Hinnant's
-- civil calendar, in which the year begins in March.
local function month_of(day)
  local shifted = day + 719468
  local era = math.floor(shifted / 146097)
  local doe = shifted - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  return year * 12 + month - 1
end

local function first_day_of(month_number)
  local month = month_number % 12 + 1
  local year = math.floor(month_number / 12) - (month <= 2 and 1 or 0)
  local era = math.floor(year / 400)
  local yoe = year - era * 400
  local doy = math.floor((153 * (month + (month > 2 and -3 or 9)) + 2) / 5)
  return era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy - 719468
end

local function period_of(kind, moment)
  local day = math.floor(moment / DAY_MS)
  if kind == 'day' then return day end
  if kind == 'month' then return month_of(day) end
  return 0
end

local function period_ends_at(kind, period)
  if kind == 'day' then return (period + 1) * DAY_MS end
  return first_day_of(period + 1) * DAY_MS
end

local function is_period(kind)
  return kind == 'day' or kind == 'month'
end

local function refill(account, meter)
  local elapsed = math.max(0, now - account.t)
  account.t = now
  if meter.capacity * elapsed + account.c >= account.spent * meter.window then
    account.spent, account.c = 0, 0
    return
  end
  local total = meter.capacity * elapsed + account.c
  local amount = math.floor(total / meter.window)
  account.spent, account.c = account.spent - amount, total - amount * meter.window
end

local function load_account(meter)
  local found = redis.call('HMGET', PREFIX .. ':meter:' .. meter.key, 's', 't', 'c', 'p', 'u')
  local account = {
    spent = tonumber(found[1] or '0'), t = tonumber(found[2] or text(now)), c = tonumber(found[3] or '0'),
    p = tonumber(found[4] or '0'), u = tonumber(found[5] or '0'),
  }
  if meter.kind == 'rate' then refill(account, meter) end
  local period = period_of(meter.kind, now)
  -- Never an older one: a clock that jumped back gives no money back.
  if period > account.p then account.spent, account.p = 0, period end
  return account
end

local function save_account(meter, account)
  local key = PREFIX .. ':meter:' .. meter.key
  redis.call('HSET', key, 's', text(account.spent), 't', text(account.t), 'c', text(account.c), 'p', text(account.p),
    'u', text(account.u))
  if is_period(meter.kind) then
    redis.call('PEXPIREAT', key, text(math.max(period_ends_at(meter.kind, account.p), now) + 2 * DAY_MS))
  elseif meter.kind == 'rate' then
    local full_in = math.ceil(account.spent * meter.window / math.max(1, meter.capacity))
    redis.call('PEXPIREAT', key, text(math.max(account.u, now + math.min(full_in, 400 * DAY_MS)) + 1000))
  else
    redis.call('PEXPIRE', key, text(DAY_MS))
  end
end

if OPERATION == 'preset' then
  -- ARGV: 'preset', the moment of the sums (ms), 1 if nothing follows, then kind, key and spent of each. Only ever
  -- raises what is spent.
  local moment = tonumber(ARGV[2])
  for index = 4, #ARGV, 3 do
    local meter = { kind = ARGV[index], key = ARGV[index + 1] }
    local account = load_account(meter)
    -- Sums of another period than the one that runs here say nothing about it.
    if period_of(meter.kind, moment) == account.p then
      account.spent = math.max(account.spent, tonumber(ARGV[index + 2]))
      save_account(meter, account)
    end
  end
  if ARGV[3] == '1' then redis.call('SET', PREFIX .. ':loaded', '1') end
  return 1
end

-- ARGV: 'trade', holder, lease (ms), ask again in (ms), then of each order: key, kind, capacity, window (ms), used,
-- returned, wanted, at least. Returns of each: granted, left, resets in (ms), whether it is scarce.
local holder, lease, ask_again = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local is_loaded = redis.call('EXISTS', PREFIX .. ':loaded') == 1

local generations = {}
local function generation_of(name)
  if generations[name] == nil then generations[name] = redis.call('GET', PREFIX .. ':lease:' .. name) end
  return generations[name]
end

local generation = generation_of(holder)
if not generation then
  generation = time[1] .. '.' .. time[2]
  generations[holder] = generation
end
redis.call('SET', PREFIX .. ':lease:' .. holder, generation, 'PX', text(lease))

-- Of a meter: what living others hold, how many they are, and what this holder holds.
local function load_held(meter)
  local key = PREFIX .. ':held:' .. meter.key
  local fields = redis.call('HGETALL', key)
  local held = { others = 0, num_others = 0, mine = 0 }
  for index = 1, #fields, 2 do
    local name = fields[index]
    local of_generation, amount = string.match(fields[index + 1], '^(.-):(%d+)$')
    if generation_of(name) ~= of_generation then
      redis.call('HDEL', key, name)
    elseif name == holder then
      held.mine = tonumber(amount)
    else
      held.others, held.num_others = held.others + tonumber(amount), held.num_others + 1
    end
  end
  return held
end

local function save_held(meter, held)
  local key = PREFIX .. ':held:' .. meter.key
  if held.mine > 0 then
    redis.call('HSET', key, holder, generation .. ':' .. text(held.mine))
    redis.call('PEXPIRE', key, text(math.max(HELD_KEPT_MS, 4 * lease)))
  else
    redis.call('HDEL', key, holder)
  end
end

local function fair_grant(order, free, num_sharing)
  if order.at_least > math.min(free, order.wanted) then return 0 end
  return math.min(order.wanted, math.max(order.at_least, math.floor(free / (2 * num_sharing))))
end

local function resets_in(meter, account, held)
  local until_lease = (held.mine + held.others) > 0 and lease or 0
  if is_period(meter.kind) then return math.max(0, period_ends_at(meter.kind, account.p) - now) end
  if meter.kind == 'level' then return until_lease end
  return math.max(math.ceil(account.spent * meter.window / math.max(1, meter.capacity)), until_lease)
end

local function trade(meter, order, account, held)
  account.spent = account.spent + order.used
  held.mine = math.max(0, held.mine - order.used - order.returned)
  if is_period(meter.kind) and not is_loaded then return { 0, 0, ask_again, 0 } end
  local free = math.max(0, meter.capacity - account.spent - held.mine - held.others)
  if order.wanted > 0 and math.max(1, order.at_least) > free then account.u = now + lease end
  local granted = fair_grant(order, free, held.num_others + 1)
  held.mine = held.mine + granted
  return { granted, free - granted, resets_in(meter, account, held), now < account.u and 1 or 0 }
end

local answer = {}
local meter, account, held
local function save()
  if meter then
    save_account(meter, account)
    save_held(meter, held)
  end
end

for index = 5, #ARGV, 8 do
  local key = ARGV[index]
  if not meter or meter.key ~= key then
    save()
    meter = {
      key = key, kind = ARGV[index + 1], capacity = tonumber(ARGV[index + 2]), window = tonumber(ARGV[index + 3]),
    }
    account, held = load_account(meter), load_held(meter)
  end
  local order = {
    used = tonumber(ARGV[index + 4]), returned = tonumber(ARGV[index + 5]), wanted = tonumber(ARGV[index + 6]),
    at_least = tonumber(ARGV[index + 7]),
  }
  for _, number in ipairs(trade(meter, order, account, held)) do
    answer[#answer + 1] = number
  end
end
save()
return answer
