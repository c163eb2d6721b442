# Evaluates the ERB templates of releases for the director.
#
# One request per line on standard input, one reply per line on standard output, both JSON. Every request is
# served by a child of its own, so that nothing that a release does to Ruby outlives it; the child has neither
# this process's standard input nor its output.
#
# What templates can call is upstream's, as in bosh-common's template/evaluation_context.rb.

require 'erb'
require 'json'
require 'ostruct'
%w[base64 bigdecimal digest fileutils ipaddr openssl securerandom set shellwords stringio tempfile time uri yaml].each do |lib|
  begin
    require lib
  rescue LoadError
    nil
  end
end

# The few methods of ActiveSupport that templates have come to rely on.
unless Object.method_defined?(:blank?)
  class Object
    def blank?
      respond_to?(:empty?) ? !!empty? : !self
    end

    def present?
      !blank?
    end

    def presence
      self if present?
    end
  end

  class String
    def blank?
      match?(/\A[[:space:]]*\z/)
    end
  end

  class Numeric
    def blank?
      false
    end
  end
end

unless Hash.method_defined?(:recursive_merge)
  class Hash
    def recursive_merge(other)
      merge(other) do |_, mine, theirs|
        mine.is_a?(Hash) && theirs.is_a?(Hash) ? mine.recursive_merge(theirs) : theirs
      end
    end
  end
end

module Bosh
  module Common
    module Template
      class EvaluationFailed < StandardError; end

      class UnknownProperty < StandardError
        attr_reader :name

        def initialize(name)
          @name = name
          super("Can't find property '#{name}'")
        end
      end

      class UnknownLink < StandardError
        def initialize(name)
          super("Can't find link '#{name}'")
        end
      end

      # Looking up dotted names.
      module PropertyHelper
        def lookup_property(collection, name)
          name.split('.').inject(collection) do |here, key|
            return nil if here.nil?

            here[key]
          end
        end
      end

      # What follows a block that did not run: this one may.
      class ActiveElseBlock
        def initialize(context)
          @context = context
        end

        def else
          yield
        end

        def else_if_p(*names, &block)
          @context.if_p(*names, &block)
        end

        def else_if_link(name, &block)
          @context.if_link(name, &block)
        end
      end

      # What follows a block that ran: nothing.
      class InactiveElseBlock
        def else; end

        def else_if_p(*_names)
          self
        end

        def else_if_link(_name)
          self
        end
      end

      # `p` and `if_p` over whatever holds the properties.
      module PropertyLookup
        include PropertyHelper

        def p(*args)
          names = Array(args[0])
          names.each do |name|
            value = lookup_property(looked_up, name)
            return value unless value.nil?
          end
          return args[1] if args.length == 2

          raise UnknownProperty, names
        end

        def if_p(*names)
          values = names.map do |name|
            value = lookup_property(looked_up, name)
            return ActiveElseBlock.new(self) if value.nil?

            value
          end
          yield(*values)
          InactiveElseBlock.new
        end
      end

      # An instance that a link leads to.
      class EvaluationLinkInstance
        include PropertyLookup
        attr_reader :name, :index, :id, :az, :address, :properties, :bootstrap

        def initialize(spec)
          @name, @index, @id, @az, @address, @properties, @bootstrap =
            spec.values_at('name', 'index', 'id', 'az', 'address', 'properties', 'bootstrap')
        end

        private

        def looked_up
          @properties
        end
      end

      # A link.
      class EvaluationLink
        include PropertyLookup
        attr_reader :instances, :properties

        def initialize(spec, names)
          @instances = spec['instances'].map { |instance| EvaluationLinkInstance.new(instance) }
          @properties = spec['properties']
          @spec = spec
          @names = names
        end

        def address(criteria = {})
          return @spec['address'] if @spec.key?('address')

          by_link = @spec.fetch('use_link_dns_names', false)
          @names.encode(
            criteria.merge(
              group_type: by_link ? 'link' : 'instance-group',
              group_name: by_link ? @spec['group_name'] : @spec['instance_group'],
              default_network: @spec['default_network'],
              deployment_name: @spec['deployment_name'],
              root_domain: @spec['domain'],
            ),
            @spec.fetch('use_short_dns_addresses', false),
          )
        end

        private

        def looked_up
          @properties
        end
      end

      # DNS names of groups of instances, long and short.
      class Names
        HEALTH = { 'healthy' => 3, 'unhealthy' => 1, 'all' => 4 }.freeze

        def initialize(index)
          @azs = index['azs'] || {}
          @networks = index['networks'] || {}
          @groups = index['groups'] || {}
          @instances = index['instances'] || {}
        end

        def encode(criteria, short)
          head = if short || criteria[:uuid].nil?
                   "q-#{slug(criteria, short)}"
                 else
                   criteria[:uuid]
                 end
          rest = if short
                   ["q-g#{@groups[criteria.values_at(:group_type, :group_name, :deployment_name).join("\0")]}"]
                 else
                   criteria.values_at(:group_name, :default_network, :deployment_name).map { |name| canonical(name) }
                 end
          [head, *rest, criteria[:root_domain]].join('.')
        end

        private

        def slug(criteria, short)
          parts = Array(criteria[:azs]).map do |az|
            id = @azs[az]
            raise "Unknown AZ: '#{az}'" if id.nil?

            "a#{id}"
          end
          if short
            parts << "m#{@instances[criteria[:uuid]]}" unless criteria[:uuid].nil?
            network = criteria[:default_network]
            unless network.nil?
              raise "Unknown Network: '#{network}'" if @networks[network].nil?

              parts << "n#{@networks[network]}"
            end
          end
          parts << 'y1' if criteria[:initial_health_check] == 'synchronous'
          parts << 'y0' if criteria[:initial_health_check] == 'asynchronous'
          parts << "s#{HEALTH.fetch(criteria[:status], 0)}"
          parts.sort.join
        end

        def canonical(name)
          name.downcase.tr('_', '-').gsub(/[^a-z0-9-]/, '')
        end
      end

      # What `self` is in a template.
      class EvaluationContext
        include PropertyLookup
        attr_reader :name, :index

        # An OpenStruct that lists its keys where templates ask for `spec.networks.methods(false)`.
        class BackCompatOpenStruct < OpenStruct
          def methods(regular = true)
            regular ? super(regular) : to_h.keys.map(&:to_sym)
          end
        end

        # `base` is the instance's spec without what it shares with the others of its group: `properties`, dumped, of
        # which every template gets a copy, and `links`, which are only read.
        def initialize(base, properties, links, names)
          @name = base['name']
          @index = base['index']
          @base = base
          @dumped = properties
          @links = links
          @names = names
        end

        def raw_properties
          @raw_properties ||= Marshal.load(@dumped) || {}
        end

        def properties
          @properties ||= openstruct(raw_properties)
        end

        def spec
          @spec ||= openstruct(@base.merge('properties' => raw_properties, 'links' => @links), BackCompatOpenStruct)
        end

        def get_binding
          binding
        end

        def link(name)
          spec = lookup_property(@links, name)
          raise UnknownLink, name if spec.nil? || !spec.key?('instances')

          EvaluationLink.new(spec, @names)
        end

        def if_link(name)
          spec = lookup_property(@links, name)
          return ActiveElseBlock.new(self) if spec.nil? || !spec.key?('instances')

          yield EvaluationLink.new(spec, @names)
          InactiveElseBlock.new
        end

        private

        def looked_up
          raw_properties
        end

        def openstruct(object, kind = OpenStruct)
          case object
          when Hash then kind.new(object.transform_values { |value| openstruct(value, kind) })
          when Array then object.map { |item| openstruct(item, kind) }
          else object
          end
        end
      end
    end
  end
end

# Renders what one request asks for.
class Renderer
  def initialize(request)
    @request = request
    @names = Bosh::Common::Template::Names.new(request['dns'] || {})
  end

  def reply
    { 'groups' => @request['groups'].map { |group| group_reply(group) } }
  end

  private

  def group_reply(group)
    jobs = group['jobs'].map { |job| compile(job, group['shared']) }
    instances = group['instances'].map do |spec|
      errors = []
      files = jobs.map { |job| render_job(job, spec, errors) }
      unless errors.empty?
        header = "- Unable to render jobs for instance group '#{spec['name']}'. Errors are:"
        return { 'error' => under(header, errors.join("\n").strip) }
      end
      files
    end
    { 'instances' => instances }
  end

  def compile(job, shared)
    properties = shared['properties'] || {}
    links = shared['links'] || {}
    templates = job['templates'].map { |template| template['text'] = erb(job['name'], template); template }
    monit = { 'source' => 'monit', 'text' => job['monit'] }
    monit['text'] = erb(job['name'], monit)
    job.merge(
      'templates' => templates,
      'monit' => monit,
      'properties' => Marshal.dump(properties[job['name']] || properties),
      'links' => links[job['name']] || {},
    )
  end

  def erb(job_name, template)
    text = template['text']
    text = text['base64'].unpack1('m').force_encoding(Encoding::UTF_8) if text.is_a?(Hash)
    compiled = ERB.new(text, trim_mode: '-')
    compiled.filename = File.join(job_name, template['source'])
    compiled
  rescue Exception => e # the text itself can be such that ERB gives up
    e
  end

  # Texts of the job's files: monit first, then its templates in order.
  def render_job(job, spec, errors)
    spec = spec.merge('release' => { 'name' => job['release'], 'version' => job['release_version'] })
    monit = fill(job['monit'], job, spec)
    failed = []
    files = job['templates'].map do |template|
      fill(template, job, spec)
    rescue RenderError => e
      failed << "- #{e.message.strip}"
      nil
    end
    unless failed.empty?
      header = "- Unable to render templates for job '#{job['name']}'. Errors are:"
      errors << under(header, failed.join("\n")).strip
    end
    [monit, *files].map { |text| packed(text) }
  rescue RenderError => e
    errors << e.message.strip
    nil
  end

  class RenderError < StandardError; end

  def fill(template, job, spec)
    compiled = template['text']
    raise compiled if compiled.is_a?(Exception)

    context = Bosh::Common::Template::EvaluationContext.new(spec.dup, job['properties'], job['links'], @names)
    compiled.result(context.get_binding)
  rescue Exception => e # templates may raise anything, SystemExit included
    place = (e.backtrace || []).find { |line| compiled.respond_to?(:filename) && line.include?(compiled.filename) }
    line = place ? place.split(':')[1] : '(unknown)'
    raise RenderError, "Error filling in template '#{template['source']}' (line #{line}: #{e})"
  end

  def under(header, body)
    "#{header}\n#{body.gsub(/^/, '  ')}"
  end

  # A text as it is if JSON can carry it, otherwise encoded.
  def packed(text)
    return nil if text.nil?

    unicode = text.encoding == Encoding::UTF_8 || text.ascii_only? ? text.dup.force_encoding(Encoding::UTF_8) : nil
    return unicode if unicode&.valid_encoding?

    { 'base64' => [text.b].pack('m0') }
  end
end

def serve(line, output)
  request = JSON.parse(line, max_nesting: false)
  reader, writer = IO.pipe
  parent = Process.pid
  child = fork do
    reader.close
    output.close
    $stdin.reopen(File::NULL)
    $stdout.reopen(File::NULL)
    # Whoever killed the parent wants this gone as well.
    Thread.new do
      sleep 1 while Process.ppid == parent
      exit!(2)
    end
    reply = Renderer.new(request).reply
    writer.write(JSON.generate(reply.merge('id' => request['id']), max_nesting: false))
    writer.close
    exit!(0)
  end
  writer.close
  reply = reader.read
  reader.close
  _, status = Process.wait2(child)
  failed = !status.success? || reply.empty?
  reply = JSON.generate('id' => request['id'], 'failure' => "the template worker ended with #{status}") if failed
  output.write(reply.delete("\n"), "\n")
  output.flush
end

output = $stdout.dup
output.sync = false
$stdout.reopen($stderr)
GC.compact if GC.respond_to?(:compact)
while (line = $stdin.gets)
  serve(line, output)
end
