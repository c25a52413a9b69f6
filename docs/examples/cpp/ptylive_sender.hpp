// Sends scans to a ptylive server: one header, C++17, libzmq and the standard library (docs/senders.md).
//
//     ptylive::Scan scan;
//     scan.rows = scan.columns = 64;
//     scan.detector_rows = scan.detector_columns = 256;
//     scan.optics = {{"energy_eV", 300e3}, {"convergence_semiangle_mrad", 21.4}};
//     ptylive::Sender sender("tcp://127.0.0.1:9999", "tcp://127.0.0.1:9998");
//     bool sent = sender.open(scan);
//     for (std::uint64_t row = 0; sent && row < 64; ++row) sent = sender.send_row(row, camera.row(row));
//     if (!(sent && sender.close())) std::cerr << sender.error() << '\n';
//
// With the control address, what is sent is kept until the server has it on its disk, and sent again where it has not:
// a scan ends complete although the server was killed and started again in between. Every call returns false, and
// error() says why in one line, where a server is away or refuses something; nothing but std::bad_alloc is thrown.
// A Sender belongs to one thread. Where zmq.h is not installed, the functions needed of libzmq are declared here.
#ifndef PTYLIVE_SENDER_HPP
#define PTYLIVE_SENDER_HPP

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#if __has_include(<zmq.h>)
#include <zmq.h>
#else
extern "C" {
struct zmq_msg_t {
  alignas(void*) unsigned char _[64];
};
struct zmq_pollitem_t {
  void* socket;
#if defined _WIN32
  std::uintptr_t fd;
#else
  int fd;
#endif
  short events, revents;
};
void* zmq_ctx_new(void);
int zmq_ctx_term(void* context);
void* zmq_socket(void* context, int type);
int zmq_close(void* socket);
int zmq_connect(void* socket, const char* address);
int zmq_disconnect(void* socket, const char* address);
int zmq_socket_monitor(void* socket, const char* address, int events);
int zmq_setsockopt(void* socket, int option, const void* value, std::size_t size);
int zmq_msg_init(zmq_msg_t* message);
int zmq_msg_init_data(zmq_msg_t* message, void* data, std::size_t size, void (*release)(void*, void*), void* hint);
int zmq_msg_init_size(zmq_msg_t* message, std::size_t size);
int zmq_msg_send(zmq_msg_t* message, void* socket, int flags);
int zmq_msg_recv(zmq_msg_t* message, void* socket, int flags);
int zmq_msg_close(zmq_msg_t* message);
void* zmq_msg_data(zmq_msg_t* message);
std::size_t zmq_msg_size(const zmq_msg_t* message);
int zmq_poll(zmq_pollitem_t* items, int count, long timeout_ms);
int zmq_errno(void);
const char* zmq_strerror(int error);
}
#endif

namespace ptylive {

// One number or a few: {"step_A", 0.4} and {"step_A", {0.4, 0.5}}.
struct Numbers : std::vector<double> {
  Numbers(double value) : std::vector<double>{value} {}
  Numbers(std::initializer_list<double> values) : std::vector<double>(values) {}
};
using Metadata = std::map<std::string, Numbers>;

// What is known of a scan. Names and units of the numbers: docs/conventions.md.
struct Scan {
  std::uint32_t rows = 0, columns = 0;                    // points, without flyback
  std::uint32_t detector_rows = 0, detector_columns = 0;  // pixels of a pattern
  std::string dtype = "<u2";                              // of a pixel, as numpy spells it: |u1, <u2, <f4, …
  std::string series;                                     // a name for people
  std::string uid;                                        // identity of the scan; empty: a new one
  std::string pattern = "raster";                         // or snake
  std::uint32_t flyback_frames = 0, skip_first = 0, repeats = 1;
  Metadata scan;      // step_A, rotation_deg, dwell_time_us, …
  Metadata optics;    // energy_eV, convergence_semiangle_mrad, C10, …
  Metadata detector;  // pixel_mrad, beam_center_px, counts_per_electron, …

  std::uint64_t frames_per_row() const { return (std::uint64_t{columns} + flyback_frames) * repeats; }
  std::uint64_t frames() const { return skip_first + rows * frames_per_row(); }
  // Bytes of a pattern; 0 where that cannot be.
  std::uint64_t frame_bytes() const {
    const char size = dtype.size() == 3 ? dtype[2] : '0';
    const bool known = size == '1' || size == '2' || size == '4' || size == '8';
    return known ? std::uint64_t{detector_rows} * detector_columns * static_cast<unsigned>(size - '0') : 0;
  }
};

// How long to wait, s: for a server to be there at first; for one that went away; for one that is there and takes
// nothing; for anything more to become safe; before what is not safe is sent again (then twice as long, up to 8 s).
// keep_bytes: of what is not safe yet; with more, send() waits.
struct Options {
  double first_s = 10, away_s = 30, stalled_s = 120, safe_s = 30, resend_s = 1;
  std::size_t keep_bytes = std::size_t{1} << 30;
  std::string keys;  // folder with server.key and client.key_secret, for a server that wants keys
};

namespace detail {

// Constants of libzmq and of the protocol (docs/protocol.md).
enum : int { pair = 0, dealer = 5, push = 8, no_wait = 1, more = 2, readable = 1, writable = 2 };
enum : int { linger = 17, send_buffer = 11, max_message = 22, send_limit = 23, immediate = 39 };
enum : int { disconnected = 0x200, agreed_on = 0x1000 };  // what happens to a connection
enum : int { public_key = 48, secret_key = 49, server_key = 50 };
constexpr std::uint64_t most_frames = 1u << 28, most_side = 8192, most_frame_bytes = 64u << 20, most_together = 4096;
constexpr std::int64_t most_reply_bytes = 64 << 20;
constexpr double ping_s = 1, ask_s = 0.25, answer_s = 1, recognise_s = 2, slowest_resend_s = 8;
constexpr int poll_ms = 50;

using Clock = std::chrono::steady_clock;
inline Clock::time_point long_ago() { return Clock::now() - std::chrono::hours(1); }
inline double seconds_since(Clock::time_point then) {
  return std::chrono::duration<double>(Clock::now() - then).count();
}

// msgpack, as far as messages of the sender need it.
class Packer {
 public:
  Packer& map(std::size_t count) { return sized(0x80, 0xde, count); }
  Packer& array(std::size_t count) { return sized(0x90, 0xdc, count); }
  Packer& text(std::string_view value) {
    if (value.size() < 32) byte(0xa0 | value.size());
    else byte(0xda), big_endian(value.size(), 2);
    out.append(value.substr(0, 0xffff));
    return *this;
  }
  Packer& integer(std::uint64_t value) { return byte(0xcf), big_endian(value, 8); }
  Packer& number(double value) {
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return byte(0xcb), big_endian(bits, 8);
  }
  Packer& numbers(const Metadata& values) {
    for (const auto& [name, given] : values) {
      text(name);
      if (given.size() != 1) array(given.size());
      for (double value : given) number(value);
    }
    return *this;
  }
  Packer& shape(std::uint64_t rows, std::uint64_t columns) { return array(2).integer(rows).integer(columns); }
  std::string out;

 private:
  Packer& byte(std::size_t value) { return out.push_back(static_cast<char>(value)), *this; }
  Packer& big_endian(std::uint64_t value, int bytes) {
    while (bytes--) byte((value >> (8 * bytes)) & 0xff);
    return *this;
  }
  Packer& sized(unsigned small, unsigned large, std::size_t count) {
    return count < 16 ? byte(small | count) : (byte(large), big_endian(count, 2));
  }
};

// Reads msgpack that anybody may have made: never beyond its end, and without recursion.
class Reader {
 public:
  enum Kind { other, whole, text, array, map };
  struct Item {
    Kind kind = other;
    std::uint64_t value = 0;  // of whole numbers and truth values; of arrays and maps how many items follow
    std::string_view words;
  };

  Reader() = default;
  Reader(const void* data, std::size_t size) : at_(static_cast<const unsigned char*>(data)), left_(size) {}

  bool next(Item& item) {
    item = {};
    std::uint64_t code = 0, size = 0;
    if (!big_endian(1, code)) return false;
    if (code < 0x80) return item.kind = whole, item.value = code, true;
    if (code < 0x90) return holds(item, map, 2 * (code & 15));
    if (code < 0xa0) return holds(item, array, code & 15);
    if (code < 0xc0) return words(item, text, code & 31);
    switch (code) {
      case 0xc0: case 0xc1: return code == 0xc0;
      case 0xc2: case 0xc3: return item.kind = whole, item.value = code & 1, true;
      case 0xc4: case 0xc5: case 0xc6: return big_endian(1 << (code - 0xc4), size) && words(item, other, size);
      case 0xc7: case 0xc8: case 0xc9: return big_endian(1 << (code - 0xc7), size) && words(item, other, size + 1);
      case 0xca: case 0xcb: return words(item, other, code == 0xca ? 4 : 8);
      case 0xcc: case 0xcd: case 0xce: case 0xcf: item.kind = whole; return big_endian(1 << (code - 0xcc), item.value);
      case 0xd0: case 0xd1: case 0xd2: case 0xd3: return words(item, other, 1u << (code - 0xd0));
      case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return words(item, other, (1u << (code - 0xd4)) + 1);
      case 0xd9: case 0xda: case 0xdb: return big_endian(1 << (code - 0xd9), size) && words(item, text, size);
      case 0xdc: case 0xdd: return big_endian(2 << (code - 0xdc), size) && holds(item, array, size);
      case 0xde: case 0xdf: return big_endian(2 << (code - 0xde), size) && holds(item, map, 2 * size);
      default: return true;  // a small negative number
    }
  }

  bool skip(std::uint64_t items = 1) {
    for (Item item; items > 0; --items) {
      if (!next(item)) return false;
      if (item.kind == array || item.kind == map) items += item.value;  // each has a byte left: no overflow
    }
    return true;
  }

  // The value of a key of the map that stands here; false where there is none.
  bool find(std::string_view key, Reader& value) const {
    Reader here = *this;
    Item item;
    if (!here.next(item) || item.kind != map) return false;
    for (std::uint64_t pairs = item.value / 2; pairs > 0; --pairs) {
      if (!here.next(item) || item.kind == array || item.kind == map) return false;
      if (item.kind == text && item.words == key) return value = here, true;
      if (!here.skip()) return false;
    }
    return false;
  }
  bool is(std::string_view key, Kind kind, Item& item) const {
    Reader value;
    return find(key, value) && value.next(item) && item.kind == kind;
  }

 private:
  bool big_endian(int bytes, std::uint64_t& value) {
    if (left_ < static_cast<std::uint64_t>(bytes)) return false;
    for (value = 0; bytes > 0; --bytes, --left_) value = value << 8 | *at_++;
    return true;
  }
  bool words(Item& item, Kind kind, std::uint64_t size) {
    if (size > left_) return false;
    item.kind = kind, item.words = {reinterpret_cast<const char*>(at_), static_cast<std::size_t>(size)};
    at_ += size, left_ -= size;
    return true;
  }
  bool holds(Item& item, Kind kind, std::uint64_t count) {
    item.kind = kind, item.value = count;
    return count <= left_;
  }

  const unsigned char* at_ = nullptr;
  std::uint64_t left_ = 0;
};

struct CloseSocket {
  void operator()(void* socket) const { zmq_close(socket); }
};
struct EndContext {
  void operator()(void* context) const { zmq_ctx_term(context); }
};
using Socket = std::unique_ptr<void, CloseSocket>;
using Pixels = std::shared_ptr<const std::vector<unsigned char>>;

struct Message {
  Message() { zmq_msg_init(&it); }
  explicit Message(std::string_view bytes) {
    if (zmq_msg_init_size(&it, bytes.size()) != 0) throw std::bad_alloc();
    std::memcpy(zmq_msg_data(&it), bytes.data(), bytes.size());
  }
  // Pixels that are shared with those kept, and released by libzmq when they have left.
  explicit Message(const Pixels& pixels) {
    auto owner = std::make_unique<Pixels>(pixels);
    const auto release = [](void*, void* hint) { delete static_cast<Pixels*>(hint); };
    void* data = const_cast<unsigned char*>(pixels->data());
    if (zmq_msg_init_data(&it, data, pixels->size(), release, owner.get()) != 0) throw std::bad_alloc();
    owner.release();
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  ~Message() { zmq_msg_close(&it); }
  zmq_msg_t it;
};

// The key of that name in a file of zmq.auth; empty where there is none.
inline std::string key_in(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  const std::string words((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const auto from = words.find(name + " = \"");
  return from == std::string::npos ? "" : words.substr(from + name.size() + 4, 40);
}

// n random hexadecimal digits.
inline std::string random_digits(std::size_t n) {
  auto seed = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
  try {
    std::random_device chance;
    seed = (seed << 32 ^ seed) + (std::uint64_t{chance()} << 32) + chance();
  } catch (...) {  // a system without a source of random numbers
  }
  std::mt19937_64 drawn(seed);
  std::string digits;
  while (digits.size() < n) digits.push_back("0123456789abcdef"[drawn() & 15]);
  return digits;
}

// "10", not "10.000000".
inline std::string plain(double seconds) {
  std::string words = std::to_string(seconds);
  words.erase(words.find_last_not_of('0') + 1);
  return words.back() == '.' ? words.substr(0, words.size() - 1) : words;
}

}  // namespace detail

class Sender {
 public:
  // data: where the server takes frames; control: where it answers, empty to send without asking what has arrived.
  explicit Sender(std::string data, std::string control = "", Options options = {})
      : data_(std::move(data)), control_(std::move(control)), options_(std::move(options)), context_(zmq_ctx_new()) {}
  // Whatever a successful close() has left on its way leaves; a scan that was not closed is dropped.
  ~Sender() {
    const double wait_s = control_.empty() ? options_.away_s : std::min(2.0, options_.away_s);
    const int wait_ms = closed_ ? static_cast<int>(1000 * wait_s) : 0;
    if (push_) zmq_setsockopt(push_.get(), detail::linger, &wait_ms, sizeof wait_ms);
  }
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  // Announce a scan. With a control address, false also where the server refuses it.
  [[nodiscard]] bool open(const Scan& scan) {
    if (open_) return fail("scan " + uid_ + " is still open");
    if (!possible(scan)) return false;
    scan_ = scan;
    uid_ = scan.uid.empty() ? new_uid() : scan.uid;
    kept_.clear(), safe_.clear();
    kept_bytes_ = sent_ = resent_ = number_ = safe_count_ = 0;
    resend_s_ = options_.resend_s, resends_ = 0;
    closed_ = false;
    if (!connect()) return false;
    if (!control_.empty() && !answers()) return false;
    const auto before = rejected_;
    if (!put(arm())) return false;
    pinged_at_ = moved_at_ = resent_at_ = detail::Clock::now();
    open_ = true;
    return control_.empty() || accepted(before);
  }

  // Patterns one after the other, in C order, numbered from first in the order of acquisition (flyback, repeats and
  // skipped ones count). In any order, as often as you like; what is there already changes nothing.
  [[nodiscard]] bool send(std::uint64_t first, std::uint64_t count, const void* patterns) {
    if (!open_) return fail("no scan is open");
    if (first >= scan_.frames() || count > scan_.frames() - first)
      return fail("frames " + std::to_string(first) + " to " + std::to_string(first + count) + " of a scan of " +
                  std::to_string(scan_.frames()));
    const std::uint64_t size = scan_.frame_bytes();
    const std::uint64_t together = std::clamp<std::uint64_t>((1u << 20) / size, 1, detail::most_together);
    const auto* from = static_cast<const unsigned char*>(patterns);
    for (std::uint64_t done = 0; done < count; done += together) {
      const std::uint64_t few = std::min(together, count - done);
      const auto* begin = from + done * size;
      if (!send_few(first + done, few, std::make_shared<std::vector<unsigned char>>(begin, begin + few * size)))
        return false;
    }
    return true;
  }

  // All frames of a row of the scan, repeats and flyback included.
  [[nodiscard]] bool send_row(std::uint64_t row, const void* patterns) {
    return send(scan_.skip_first + row * scan_.frames_per_row(), scan_.frames_per_row(), patterns);
  }

  // Wait while there is nothing to send: says every second that the scan goes on.
  [[nodiscard]] bool idle(double seconds) {
    for (const auto since = detail::Clock::now(); detail::seconds_since(since) < seconds;) {
      listen(std::min(detail::poll_ms, static_cast<int>(1000 * (seconds - detail::seconds_since(since))) + 1));
      if (!ping_if_due()) return false;
    }
    return true;
  }

  // With a control address wait until all that was sent is safe, sending again what is not; say that the scan is over.
  // complete = false: it was broken off. After false it can be called again, or with complete = false to give up.
  [[nodiscard]] bool close(bool complete = true) {
    if (!open_) return fail("no scan is open");
    moved_at_ = detail::Clock::now();
    while (complete && !kept_.empty())
      if (!make_safe()) return false;
    detail::Packer end;
    end.map(5).text("type").text("end").text("uid").text(uid_).text("sender").integer(sender_);
    end.text("frames").integer(std::min(sent_, scan_.frames()));
    end.text("reason").text(complete ? "complete" : "aborted");
    if (!complete) open_ = false;  // whether or not anybody hears of it
    if (!put(end.out)) return false;
    open_ = false;
    return closed_ = true;
  }

  const std::string& error() const { return error_; }  // why the last call that failed did, in one line
  const std::string& uid() const { return uid_; }
  std::uint64_t frames_resent() const { return resent_; }
  std::size_t bytes_not_safe() const { return kept_bytes_; }

 private:
  struct Kept {
    std::uint64_t count = 0;
    detail::Pixels pixels;
  };
  using Counts = std::map<std::string, std::uint64_t, std::less<>>;

  bool fail(std::string why) { return error_ = std::move(why), false; }
  static std::string new_uid() {
    const std::string hex = detail::random_digits(31);
    return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-4" + hex.substr(12, 3) + "-a" + hex.substr(15, 3) + "-" +
           hex.substr(18, 12);
  }
  static std::uint64_t new_sender() { return std::stoull(detail::random_digits(15), nullptr, 16) + 1; }

  bool possible(const Scan& scan) {
    const auto longest_row = std::max(std::uint64_t{scan.columns} + scan.flyback_frames, std::uint64_t{scan.repeats});
    if (scan.rows == 0 || scan.columns == 0 || scan.repeats == 0 || longest_row > detail::most_frames ||
        scan.frames_per_row() > detail::most_frames || scan.frames() > detail::most_frames)
      return fail("a scan of " + std::to_string(scan.rows) + " x " + std::to_string(scan.columns) +
                  " points cannot be: 1 to 2^28 frames");
    const auto longest = std::max(scan.detector_rows, scan.detector_columns);
    if (scan.frame_bytes() == 0 || longest > detail::most_side || scan.frame_bytes() > detail::most_frame_bytes)
      return fail("patterns of " + std::to_string(scan.detector_rows) + " x " + std::to_string(scan.detector_columns) +
                  " pixels of type '" + scan.dtype + "' cannot be: 1 to 8192 pixels a side, at most 64 MiB");
    if (scan.series.size() > 200 || scan.uid.size() > 64 || scan.pattern.size() > 64)
      return fail("series has at most 200 bytes, uid and pattern 64");
    for (const Metadata* section : {&scan.scan, &scan.optics, &scan.detector})
      for (const auto& [name, given] : *section)
        for (double value : given)
          if (!std::isfinite(value)) return fail(name + " is not a finite number");
    return true;
  }

  bool connect() {
    if (push_) return true;
    detail::Socket made(zmq_socket(context_.get(), detail::push));
    if (!set(made, detail::send_limit, 8) || !set(made, detail::send_buffer, 4 << 20)) return false;
    if (!set(made, detail::immediate, 1)) return false;
    const char* const news = "inproc://news";
    monitor_.reset(zmq_socket(context_.get(), detail::pair));
    if (zmq_socket_monitor(made.get(), news, detail::disconnected | detail::agreed_on) != 0 ||
        !connect(monitor_, news, "inner") || !connect(made, data_, "data"))
      return false;
    push_ = std::move(made);
    return true;
  }
  // While the server is away another program may have its address. Its connections end before anything is agreed on,
  // and after some of them libzmq never tries the address again.
  bool outlast_strangers() {
    bool broken_off = false;
    for (detail::Message told; zmq_msg_recv(&told.it, monitor_.get(), detail::no_wait) >= 0;) {
      std::uint16_t event = 0;
      if (zmq_msg_size(&told.it) != sizeof event + sizeof(std::uint32_t)) continue;  // the address it is about
      std::memcpy(&event, zmq_msg_data(&told.it), sizeof event);
      broken_off = event == detail::disconnected && !agreed_on_;
      agreed_on_ = event == detail::agreed_on;
    }
    if (!broken_off) return true;
    zmq_disconnect(push_.get(), data_.c_str());  // fails where it was given up
    std::this_thread::sleep_for(std::chrono::milliseconds(detail::poll_ms));
    return connect(push_, data_, "data");
  }
  bool connect(const detail::Socket& socket, const std::string& address, const std::string& kind) {
    if (!set(socket, detail::linger, 0) || !(options_.keys.empty() || set_keys(socket))) return false;
    if (zmq_connect(socket.get(), address.c_str()) == 0) return true;
    const std::string why = zmq_strerror(zmq_errno());
    return fail("'" + address + "' is no " + kind + " address: " + why + " (it is tcp://HOST:PORT)");
  }
  bool set(const detail::Socket& socket, int option, int value) {
    if (socket && zmq_setsockopt(socket.get(), option, &value, sizeof value) == 0) return true;
    return fail(std::string("libzmq: ") + zmq_strerror(zmq_errno()));
  }
  bool set_keys(const detail::Socket& socket) {
    const std::string own = options_.keys + "/client.key_secret", others = options_.keys + "/server.key";
    const std::array<std::pair<int, std::string>, 3> keys{{
        {detail::server_key, detail::key_in(others, "public-key")},
        {detail::public_key, detail::key_in(own, "public-key")},
        {detail::secret_key, detail::key_in(own, "secret-key")},
    }};
    for (const auto& [option, key] : keys)
      if (key.size() != 40 || zmq_setsockopt(socket.get(), option, key.c_str(), 41) != 0)
        return fail("no keys in " + options_.keys + ": it needs server.key and client.key_secret (docs/protocol.md)");
    return true;
  }

  std::string arm() const { return arm_map().out; }
  detail::Packer arm_map() const {
    detail::Packer map;
    map.map(9).text("type").text("arm").text("version").integer(1).text("uid").text(uid_);
    map.text("sender").integer(sender_).text("series").text(scan_.series).text("frames").integer(scan_.frames());
    map.text("scan").map(5 + scan_.scan.size()).text("shape").shape(scan_.rows, scan_.columns);
    map.text("pattern").text(scan_.pattern).text("flyback_frames").integer(scan_.flyback_frames);
    map.text("skip_first").integer(scan_.skip_first).text("repeats").integer(scan_.repeats).numbers(scan_.scan);
    map.text("optics").map(scan_.optics.size()).numbers(scan_.optics);
    map.text("detector").map(2 + scan_.detector.size()).text("dtype").text(scan_.dtype);
    map.text("shape").shape(scan_.detector_rows, scan_.detector_columns).numbers(scan_.detector);
    return map;
  }

  bool ping_if_due() {
    if (detail::seconds_since(pinged_at_) < detail::ping_s) return true;
    pinged_at_ = detail::Clock::now();
    detail::Packer ping;
    ping.map(4).text("type").text("ping").text("uid").text(uid_).text("sender").integer(sender_).text("arm");
    return put(ping.out + arm());
  }

  bool send_few(std::uint64_t first, std::uint64_t count, const detail::Pixels& pixels) {
    listen(0);
    if (!ping_if_due()) return false;
    if (!control_.empty()) {
      const auto full = [&] { return !kept_.empty() && kept_bytes_ + pixels->size() > options_.keep_bytes; };
      if (full()) moved_at_ = detail::Clock::now();
      while (full())
        if (!make_safe()) return false;
      keep(first, count, pixels);
    }
    if (!put_frames(first, count, pixels)) return false;
    sent_ += count;
    return true;
  }
  void keep(std::uint64_t first, std::uint64_t count, const detail::Pixels& pixels) {
    Kept& place = kept_[first];
    if (place.count >= count) return;  // sent before, with more behind it
    kept_bytes_ += pixels->size() - (place.pixels ? place.pixels->size() : 0);
    place = {count, pixels};
  }
  bool put_frames(std::uint64_t first, std::uint64_t count, const detail::Pixels& pixels) {
    detail::Packer head;
    head.map(7).text("type").text("frames").text("uid").text(uid_).text("sender").integer(sender_);
    sent_at_ = detail::Clock::now();
    head.text("seq").integer(number_++).text("first").integer(first).text("count").integer(count);
    return put(head.text("codec").text("none").out, pixels);
  }

  // One message, as soon as the server takes it; false when nobody has in time.
  bool put(const std::string& head, const detail::Pixels& pixels = {}) {
    const auto since = detail::Clock::now();
    while (!try_put(head, pixels)) {
      listen(0);
      const bool there = taken_ && !control_.empty() && detail::seconds_since(answered_at_) < 2 * detail::answer_s;
      const double limit = there ? options_.stalled_s : taken_ ? options_.away_s : options_.first_s;
      if (detail::seconds_since(since) > limit)
        return fail(there ? "the server at " + data_ + " has taken nothing for " + detail::plain(limit) + " s"
                          : "no server takes data at " + data_ + " (waited " + detail::plain(limit) +
                                " s): start one with ptylive serve");
      if (!outlast_strangers()) return false;
      poll(push_, detail::writable, detail::poll_ms);
    }
    return taken_ = true;
  }
  bool try_put(const std::string& head, const detail::Pixels& pixels) {
    detail::Message first(head);
    if (zmq_msg_send(&first.it, push_.get(), detail::no_wait | (pixels ? detail::more : 0)) < 0) return false;
    if (!pixels) return true;
    // where the connection broke between the two, libzmq has taken the first one back
    detail::Message second(pixels);
    return zmq_msg_send(&second.it, push_.get(), detail::no_wait) >= 0;
  }
  static bool poll(const detail::Socket& socket, int events, int wait_ms) {
    zmq_pollitem_t item{};
    item.socket = socket.get();
    item.events = static_cast<short>(events);
    return zmq_poll(&item, 1, wait_ms) > 0;
  }

  // Ask what is safe, if it is time to, and take what has been answered.
  void listen(int wait_ms) {
    if (asked_ && detail::seconds_since(asked_at_) > detail::answer_s) {
      asked_ = false;
      ask_.reset();  // what may still come by this connection answers an old question
    }
    if (!control_.empty() && !asked_ && detail::seconds_since(asked_at_) >= detail::ask_s) ask();
    if (!ask_) return std::this_thread::sleep_for(std::chrono::milliseconds(wait_ms));
    if (!poll(ask_, detail::readable, wait_ms)) return;
    for (detail::Message reply; zmq_msg_recv(&reply.it, ask_.get(), detail::no_wait) >= 0;)
      take(detail::Reader(zmq_msg_data(&reply.it), zmq_msg_size(&reply.it)));
  }
  void ask() {
    asked_at_ = detail::Clock::now();
    if (!ask_) {
      ask_.reset(zmq_socket(context_.get(), detail::dealer));
      const std::int64_t most = detail::most_reply_bytes;
      if (!ask_ || zmq_setsockopt(ask_.get(), detail::max_message, &most, sizeof most) != 0) return ask_.reset();
      if (!connect(ask_, control_, "control")) return ask_.reset();
    }
    asked_ = true;
    const std::string id = std::to_string(++questions_);
    detail::Packer state, safe;
    state.map(2).text("id").text("s" + id).text("command").text("status");
    safe.map(3).text("id").text("r" + id).text("command").text("received").text("uid").text(uid_);
    for (const auto* question : {&state, &safe}) {
      detail::Message message(question->out);
      zmq_msg_send(&message.it, ask_.get(), detail::no_wait);
    }
  }
  void take(const detail::Reader& reply) {
    detail::Reader::Item id, ok, uid;
    if (!reply.is("id", detail::Reader::text, id) || id.words.empty()) return;
    if (id.words.substr(1) != std::to_string(questions_)) return;
    if (!reply.is("ok", detail::Reader::whole, ok) || ok.value == 0) return;
    if (id.words.front() == 's') {
      shown_ = reply.is("uid", detail::Reader::text, uid) && uid.words == uid_;
      take_rejected(reply);
    } else if (id.words.front() == 'r' && take_ranges(reply)) {
      answered_at_ = detail::Clock::now(), answered_of_ = asked_at_;
      asked_ = false;
    }
  }
  void take_rejected(const detail::Reader& reply) {
    detail::Reader here;
    detail::Reader::Item map, name, count;
    Counts found;
    if (!reply.find("rejected", here) || !here.next(map) || map.kind != detail::Reader::map) return;
    for (std::uint64_t pairs = map.value / 2; pairs > 0; --pairs) {
      if (!here.next(name) || name.kind != detail::Reader::text || name.words.size() > 40) return;
      if (!here.next(count) || count.kind != detail::Reader::whole || found.size() > 100) return;
      found[std::string(name.words)] = count.value;
    }
    rejected_ = std::move(found);
  }
  bool take_ranges(const detail::Reader& reply) {
    detail::Reader here;
    detail::Reader::Item list, pair, first, last;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> found;
    if (!reply.find("ranges", here) || !here.next(list) || list.kind != detail::Reader::array) return false;
    std::uint64_t total = 0, before = 0;
    for (; list.value > 0; --list.value) {
      if (!here.next(pair) || pair.kind != detail::Reader::array || pair.value != 2) return false;
      if (!here.next(first) || first.kind != detail::Reader::whole || first.value < before) return false;
      if (!here.next(last) || last.kind != detail::Reader::whole || last.value <= first.value) return false;
      if (last.value > scan_.frames()) return false;
      if (found.empty() || first.value > before) found.emplace_back(first.value, last.value);
      found.back().second = before = last.value;
      total += last.value - first.value;
    }
    if (total > safe_count_) moved_at_ = detail::Clock::now(), resend_s_ = options_.resend_s, resends_ = 0;
    safe_count_ = total;
    safe_ = std::move(found);
    drop_safe();
    return true;
  }
  void drop_safe() {
    for (auto kept = kept_.begin(); kept != kept_.end();) {
      auto range = std::upper_bound(safe_.begin(), safe_.end(), std::make_pair(kept->first, ~std::uint64_t{0}));
      if (range == safe_.begin() || (--range)->second < kept->first + kept->second.count) {
        ++kept;
      } else {
        kept_bytes_ -= kept->second.pixels->size();
        kept = kept_.erase(kept);
      }
    }
  }

  // Whether the server answers, within the patience for one that is not there yet.
  bool answers() {
    const auto since = detail::Clock::now();
    asked_ = shown_ = false, ask_.reset(), asked_at_ = detail::long_ago(), error_.clear();
    while (answered_at_ <= since) {
      listen(detail::poll_ms);
      if (!ask_ && !error_.empty()) return false;
      if (detail::seconds_since(since) > options_.first_s)
        return fail("no server answers at " + control_ + " (waited " + detail::plain(options_.first_s) +
                    " s): start one with ptylive serve");
    }
    return true;
  }
  // Whether the header is taken. A server that shows another scan meanwhile does not say so: then frames tell.
  bool accepted(const Counts& before) {
    for (const auto since = detail::Clock::now(); detail::seconds_since(since) < detail::recognise_s;) {
      listen(detail::poll_ms);
      if (shown_) return true;
      const std::string why = refused_since(before);
      for (const char* reason : {"bad_arm", "impossible_value", "unknown_version", "missing_part", "oversized"})
        if (why.find(reason) != std::string::npos)
          return open_ = false, fail("the server refuses the header of the scan (" + why + "): its log says more");
    }
    return true;
  }
  // What the server has refused since it counted like that: "truncated 3, unknown_scan 1".
  std::string refused_since(const Counts& before) const {
    std::string words;
    for (const auto& [reason, count] : rejected_) {
      const auto found = before.find(reason);
      const std::uint64_t known = found == before.end() ? 0 : found->second;
      if (count > known) words += (words.empty() ? "" : ", ") + reason + " " + std::to_string(count - known);
    }
    return words;
  }

  // A while of making safe what is kept; false when the server makes nothing more safe.
  bool make_safe() {
    listen(detail::poll_ms);
    if (kept_.empty()) return true;
    if (detail::seconds_since(moved_at_) > options_.safe_s) return fail_safe();
    if (detail::seconds_since(std::max(moved_at_, resent_at_)) < resend_s_ || answered_of_ <= sent_at_)
      return ping_if_due();
    if (resends_ == 0) refused_before_ = rejected_;
    if (resends_ >= 2 && !refused_since(refused_before_).empty())
      return fail("the server refuses what is sent: " + refused_since(refused_before_) + " (docs/protocol.md)");
    resends_++;
    pinged_at_ = detail::long_ago();  // a server that was started again may not know the scan
    if (!ping_if_due()) return false;
    const auto again = kept_;  // answers come meanwhile
    for (const auto& [first, kept] : again) {
      if (kept_.count(first) == 0) continue;
      if (!put_frames(first, kept.count, kept.pixels)) return false;
      resent_ += kept.count;
      listen(0);
    }
    resent_at_ = detail::Clock::now();
    resend_s_ = std::min(2 * resend_s_, detail::slowest_resend_s);
    return true;
  }
  bool fail_safe() {
    const std::string waited = " within " + detail::plain(options_.safe_s) + " s";
    if (detail::seconds_since(answered_at_) > 2 * detail::answer_s)
      return fail("no server answers at " + control_ + waited + ": start one with ptylive serve");
    std::uint64_t count = 0;
    for (const auto& kept : kept_) count += kept.second.count;
    return fail(std::to_string(count) + " frames did not become safe" + waited + ": is the server's disk full?");
  }

  std::string data_, control_, uid_, error_;
  Options options_;
  Scan scan_;
  const std::uint64_t sender_ = new_sender();  // tells two senders of one uid apart
  bool agreed_on_ = false;  // the connection that there is, or was last
  bool open_ = false, closed_ = false, taken_ = false, asked_ = false, shown_ = false;
  std::uint64_t sent_ = 0, resent_ = 0, number_ = 0, questions_ = 0, safe_count_ = 0;
  std::size_t kept_bytes_ = 0;
  std::map<std::uint64_t, Kept> kept_;  // what is not safe, by its first frame
  std::vector<std::pair<std::uint64_t, std::uint64_t>> safe_;
  Counts rejected_, refused_before_;
  double resend_s_ = 1;
  int resends_ = 0;
  detail::Clock::time_point pinged_at_ = detail::long_ago(), asked_at_ = pinged_at_, answered_at_ = pinged_at_;
  detail::Clock::time_point moved_at_ = pinged_at_, resent_at_ = pinged_at_, sent_at_ = pinged_at_;
  detail::Clock::time_point answered_of_ = pinged_at_;  // when what was answered last was asked
  std::unique_ptr<void, detail::EndContext> context_;  // ends after the sockets below are closed
  detail::Socket push_, ask_, monitor_;
};

}  // namespace ptylive
#endif  // PTYLIVE_SENDER_HPP
